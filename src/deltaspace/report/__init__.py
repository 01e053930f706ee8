"""What a study found: tables for the terminal, one HTML page with everything."""
