"""What goes wrong in files that are not what they should be."""

import struct
import zipfile
import zlib

# Raised by zipfile, zlib, pickletools, struct and numpy on bytes from elsewhere.
DAMAGED = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    OSError,
    OverflowError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
