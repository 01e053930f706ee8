"""What `import deltaspace` offers."""

import deltaspace


def test_every_public_name_is_there_and_is_no_module():
    for name in deltaspace.__all__:
        assert getattr(deltaspace, name).__class__.__name__ != "module", name
