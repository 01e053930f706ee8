// A table that is wider than its page scrolls; the keyboard reaches it only if it can have the focus, and then it has a name.
window.addEventListener("load", () => {
  const name = (box) => {
    const above = [...document.querySelectorAll("article :is(h1, h2, h3, h4)")].filter(
      (heading) => heading.compareDocumentPosition(box) & Node.DOCUMENT_POSITION_FOLLOWING
    );
    const heading = above.at(-1)?.cloneNode(true);
    heading?.querySelectorAll(".headerlink").forEach((link) => link.remove());
    return `Table of ${heading?.textContent.trim() ?? document.title}`;
  };
  const watch = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.scrollWidth > target.clientWidth) {
        target.tabIndex = 0;
        target.setAttribute("role", "group");
        target.setAttribute("aria-label", name(target));
      } else for (const attribute of ["tabindex", "role", "aria-label"]) target.removeAttribute(attribute);
    }
  });
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap")) watch.observe(box);
});
