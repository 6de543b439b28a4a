"""Tables: from the bytes of a file to typed columns, a target and rows."""
