"""Forms and files that clients send, files that they are sent, and where files are kept."""

from __future__ import annotations

from antiphon.domain.limits.sizes import KIB, MIB

# --- forms (multipart/form-data) --------------------------------------------------------------------------------------
#: One file, or a form with its files. OpenAI's own limit for a file is 512 MB.
MAX_UPLOAD = 512 * MIB
#: Parts of one form. OpenAI's largest has some twenty fields and sixteen images.
MAX_FORM_PARTS = 128
#: Headers of one part: three have a meaning (RFC 7578), and some clients add a few of their own.
MAX_FORM_HEADERS = 8
#: Bytes of the headers of one part. A file's name may be 255 characters, each written as up to twelve bytes.
MAX_FORM_HEADER_BYTES = 8 * KIB
#: One field that is read as text, such as a prompt, and all of a form's together.
MAX_FORM_FIELD = MIB
MAX_FORM_FIELDS = 4 * MIB
#: Characters of a field's name, and of a file's.
MAX_FIELD_NAME = 256
MAX_FILE_NAME = 255
#: Bytes that are parsed at a time: hostile ones take a millisecond, and others may go on in between.
FORM_STEP = 16 * KIB

# --- files that are sent ----------------------------------------------------------------------------------------------
#: Bytes that are read of a file, and sent, at a time.
FILE_PIECE = 256 * KIB

# --- blobs ------------------------------------------------------------------------------------------------------------
#: Bytes of a blob's name (an S3 key may have 1,024), and levels of it: each is a folder, of 255 bytes at most.
MAX_BLOB_NAME = 512
MAX_BLOB_LEVELS = 8
#: Blobs of one page of a list. S3 gives no more at a time.
MAX_BLOB_PAGE = 1_000
#: Bytes that are collected before they are written to a disk, in one go.
BLOB_WRITE = MIB
#: Bytes of one part of an upload to S3, which takes at most 10,000 of them, each but the last of at least 5 MiB.
BLOB_PART = 8 * MIB
#: Parts of one upload that are under way at once; each is in memory.
BLOB_PARTS_AT_ONCE = 2
#: Bytes of one request for a part of a blob in S3.
BLOB_READ = 2 * MIB
#: Threads for the files of blobs: a disk that hangs must not take those that everything else uses.
BLOB_THREADS = 4
#: Seconds to connect to S3, of one request there, and of all tries of one together.
BLOB_CONNECT_TIMEOUT = 5.0
BLOB_REQUEST_TIMEOUT = 60.0
BLOB_RETRY_TIMEOUT = 120.0
BLOB_RETRIES = 4
#: Half-written files of a process that has ended are removed once they are this old.
BLOB_LEFTOVER_AGE = 24 * 3600.0
