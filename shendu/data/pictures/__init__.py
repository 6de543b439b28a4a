"""Pictures: class folders, and the binary files of well-known sets."""
