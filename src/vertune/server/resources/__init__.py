"""Resources of the REST interface, one module each; the server finds every module in this folder by itself."""
