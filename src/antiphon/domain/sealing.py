"""Content that leaves the server and comes back: encrypted and authenticated, for one project and one purpose.

A sealed text is base64url of `version (1) ‖ salt (16) ‖ nonce (12) ‖ AES-256-GCM(content) ‖ tag (16)`. Its key is
derived from the server's secret and the salt (HKDF-SHA256), so that no key is used twice and random nonces cannot
collide. Version, purpose and project are authenticated with it: what was sealed for another project, or for
something else, opens no more than what was tampered with.
"""

from __future__ import annotations

import base64
import binascii
import os

_VERSION = b"\x01"
_SALT = 16
_NONCE = 12
_TAG = 16
_KEY = 32


class SealBroken(ValueError):
    """Not sealed here, not for this project and purpose, or changed since."""


class Sealer:
    """Seals and opens with keys of one secret (32 random bytes, see `DataDir.secret`)."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def seal(self, project_id: str, purpose: str, content: bytes) -> str:
        """`content` as text that only this server can open, for the same project and purpose."""
        # Most servers never seal anything, and the library costs 10 MB and some milliseconds.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
        sealed = AESGCM(self._key(salt)).encrypt(nonce, content, _bound_to(project_id, purpose))
        return base64.urlsafe_b64encode(_VERSION + salt + nonce + sealed).decode("ascii")

    def open(self, project_id: str, purpose: str, sealed: str) -> bytes:
        """What was sealed. Raises `SealBroken`."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            raw = base64.b64decode(sealed.encode("ascii"), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raise SealBroken("not base64url") from None
        # The last character may have bits that decoding drops: changing those is changing it all the same.
        if base64.urlsafe_b64encode(raw).decode("ascii") != sealed:
            raise SealBroken("not as base64url writes it")
        if raw[:1] != _VERSION or len(raw) < 1 + _SALT + _NONCE + _TAG:
            raise SealBroken("not sealed by this version")
        salt, nonce, content = raw[1 : 1 + _SALT], raw[1 + _SALT : 1 + _SALT + _NONCE], raw[1 + _SALT + _NONCE :]
        try:
            return AESGCM(self._key(salt)).decrypt(nonce, content, _bound_to(project_id, purpose))
        except InvalidTag:
            raise SealBroken("not authentic") from None

    def _key(self, salt: bytes) -> bytes:
        """The key of one sealed text (RFC 5869; its info keeps it apart from every other use of the secret)."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), _KEY, salt, b"antiphon sealed content 1").derive(self._secret)


def _bound_to(project_id: str, purpose: str) -> bytes:
    """What is authenticated along with the content. Lengths come first, so that no two pairs are alike."""
    parts = [part.encode("utf-8") for part in (purpose, project_id)]
    return _VERSION + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
