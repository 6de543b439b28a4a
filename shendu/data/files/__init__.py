"""Files as they lie on a disk: folders and archives, their layout, downloads, and the cache of what was decoded."""
