"""Sources: components that read the rows of a dataset from files, a database or the Hugging Face hub; one module per source."""
