"""Where the bytes of files are kept: in a folder, or at a server that speaks S3."""
