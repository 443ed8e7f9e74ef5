"""HTML pages with pictures, one file each, that open without a network."""
