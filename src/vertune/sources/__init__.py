"""Sources, which read the rows of a dataset from files, databases or hubs: one file per source."""
