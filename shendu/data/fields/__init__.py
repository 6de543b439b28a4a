"""Fields: what a name in a batch holds. A file is a field, called as the file is; none knows a file format."""
