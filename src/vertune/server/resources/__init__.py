"""Resources (groups of endpoints) of the REST interface, one module each; the server finds all modules in this folder automatically."""
