"""The explorer: every feature of a study's dictionaries in one HTML file that needs no server and no network."""
