"""Signature v2 against published and independently computed vectors, and that a signer shows nothing."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.registry.ncr.credentials import Credentials
from pruner.registry.ncr.signing import Signer
from pruner.registry.secret import Secret

ACCESS_KEY = "AKIDEXAMPLE000000001"
SECRET_KEY = "SKEXAMPLE0000000000000000000000000000001"
TIMESTAMP = "1700000000000"
TAG = "/ncr/api/v2/repositories/my-registry/hello%2Fworld/tags/v1.0.0"
TAG_SIGNATURE = "OoTQIXUO2GiiODnSBlOLJx1AAB43QUPc5uCtc4h4gcw="

VECTORS = [
    ("GET", "/ncr/api/v2/repositories", "E1pMtSE9rJzJcSJPJSwkgGMo4dyYZRsA+eOcW8qZPUo="),
    (
        "GET",
        "/ncr/api/v2/repositories/my-registry/hello%2Fworld/tags?page=2&pagesize=100",
        "VtKHryUl5nJL9S9TIjCTz95Zs35TKD8ApLEpYJGC7gI=",
    ),
    ("DELETE", TAG, TAG_SIGNATURE),
    (
        "DELETE",
        "/ncr/krs/v2/repositories/my-registry/app/tags/sha-0a1b2c3_rc.1",
        "66r90cv9MIlAUlFfO7i0J32jc4XN7Xmg08D+AZEuVtI=",
    ),
    (
        "GET",
        "/ncr/sgn-api/v2/repositories/my-registry?page=1&pagesize=100",
        "3y6HiZbb+L0JFiq1wYhOnhZuiJb5Ceam5QT2JnOwG5U=",
    ),
    (
        "DELETE",
        "/ncr/jpn-api/v2/repositories/my-registry/a%2Fb%2Fc",
        "5xai5uze9oHtc08olJna+1SoSyhKb/xSmx+skFjEfqM=",
    ),
    ("GET", "/photos/puppy.jpg?query1=&query2", "tlBJF883bpTTx8U8IU3yZipJlygKqjcuIMez6hyAohg="),
]
MISENCODED = [
    ("hello/world", "9ARVdMwLpxN2pwE1J71rPETP9MGSZjAyx16s3CjVIdY="),
    ("hello%2fworld", "/F8Qzga90gwSzVmVqZCpVnMRa4ko91MNeGFeDY2kRKg="),
    ("hello%252Fworld", "5pkqBaTy1CFETfLI6dtNiPBZL15Z+aHHcgCjEiSMILo="),
]


def a_signer(access_key=ACCESS_KEY, secret_key=SECRET_KEY):
    return Signer(Credentials(access_key, Secret(secret_key), "a test"))


@pytest.mark.parametrize(
    ("method", "target", "signature"), VECTORS, ids=[f"V{n}" for n in range(1, len(VECTORS) + 1)]
)
def test_vectors(method, target, signature):
    assert a_signer().signature(method, target, TIMESTAMP) == signature


def test_a_vector_of_somebody_else():
    signer = a_signer("TestAccessKey", "TestSecretKey")
    target = "/vserver/v2/getServerInstanceList?responseFormatType=json"
    assert signer.signature("GET", target, "1234567890123") == "FPsYYX8fuMAgi+cue3eACOW0dNtIwu1LYWfg/megA2M="


@pytest.mark.parametrize(("image", "signature"), MISENCODED)
def test_another_encoding_of_the_same_path_is_another_signature(image, signature):
    target = TAG.replace("hello%2Fworld", image)
    assert a_signer().signature("DELETE", target, TIMESTAMP) == signature != TAG_SIGNATURE


def test_a_signer_can_be_used_again():
    signer = a_signer()
    signer.signature("GET", "/other", "1")
    assert signer.signature("DELETE", TAG, TIMESTAMP) == TAG_SIGNATURE


def test_the_three_headers_carry_what_was_signed():
    assert a_signer().headers("DELETE", TAG, TIMESTAMP) == {
        "x-ncp-apigw-timestamp": TIMESTAMP,
        "x-ncp-iam-access-key": ACCESS_KEY,
        "x-ncp-apigw-signature-v2": TAG_SIGNATURE,
    }


@given(
    access_key=st.text(min_size=1, alphabet=st.characters(codec="utf-8")),
    secret_key=st.text(alphabet=st.characters(codec="utf-8")),
    target=st.text(alphabet=st.characters(codec="utf-8")),
)
def test_equals_the_rule_for_any_text(access_key, secret_key, target):
    text = f"PUT {target}\n7\n{access_key}".encode()
    wanted = base64.b64encode(hmac.new(secret_key.encode(), text, hashlib.sha256).digest()).decode()
    assert a_signer(access_key, secret_key).signature("PUT", target, "7") == wanted


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r}".format, ascii])
def test_a_signer_shows_nothing(show):
    shown = show(a_signer())
    for secret in (SECRET_KEY, ACCESS_KEY, SECRET_KEY[:8], ACCESS_KEY[:8]):
        assert secret not in shown
