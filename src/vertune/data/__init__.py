"""From the columns of a source to the records of a task: names, checks, datasets, descriptions; one file each."""
