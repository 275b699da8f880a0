"""Signature headers with nothing around them: the HMAC is keyed once and copied."""

import base64
import hashlib
import hmac
import time

from benchmarks.work import ACCESS_KEY, SECRET_KEY

_KEYED = hmac.new(SECRET_KEY.encode(), digestmod=hashlib.sha256)


def signed(target: str) -> dict[str, str]:
    """The three headers of a DELETE of ``target``, signed now."""
    now = str(int(time.time() * 1000))
    keyed = _KEYED.copy()
    keyed.update(f"DELETE {target}\n{now}\n{ACCESS_KEY}".encode())
    return {
        "x-ncp-apigw-timestamp": now,
        "x-ncp-iam-access-key": ACCESS_KEY,
        "x-ncp-apigw-signature-v2": base64.b64encode(keyed.digest()).decode(),
    }
