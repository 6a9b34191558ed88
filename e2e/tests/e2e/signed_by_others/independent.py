"""Signs requests and verifies answers with the package http-message-signatures, which knows nothing of
Silo. Usage: independent.py URL, the token in TOKEN. Prints method, target and status of each."""

import hashlib
import hmac
import http.client
import os
import sys
import urllib.parse
import uuid

from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
    algorithms,
)

TOKEN = os.environ["TOKEN"]
KEY = hmac.digest(TOKEN.encode(), b"silo http-signature v1", "sha256")
KEYID = TOKEN.split("_")[1]
OF_REQUEST = ("@method", "@authority", "@path", "@query", "signature")


class Keys(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id):
        return KEY

    def resolve_public_key(self, key_id):
        assert key_id == KEYID, key_id
        return KEY


class Message:
    def __init__(self, **parts):
        self.__dict__.update(parts)


SIGNER = HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=Keys())
VERIFIER = HTTPMessageVerifier(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=Keys())


def call(method, target, body=None, **fields):
    url = sys.argv[1] + target
    request = Message(method=method, url=url, headers={k.replace("_", "-"): v for k, v in fields.items()})
    SIGNER.sign(
        request,
        key_id=KEYID,
        nonce=uuid.uuid4().hex,
        label="silo",
        covered_component_ids=("@method", "@authority", "@path", "@query", *request.headers),
        body=body,
    )
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=20)
    connection.request(method, target, body, request.headers)
    got = connection.getresponse()
    content = got.read()
    answer = Message(status_code=got.status, headers=dict(got.getheaders()), request=request)
    required = ['"@status"', *(f'"{name}";req' for name in OF_REQUEST)]
    if content:
        required.append('"content-digest"')
    if got.getheader("etag"):
        required.append('"etag"')
    VERIFIER.verify(answer, require_components=required, body=content)
    # It would have noticed another status, content, or request.
    for wrong in (
        Message(status_code=got.status + 1, headers=answer.headers, request=request),
        Message(status_code=got.status, headers=answer.headers, request=Message(**{**request.__dict__, "url": url + "x"})),
    ):
        try:
            VERIFIER.verify(wrong, body=content)
        except InvalidSignature:
            continue
        raise AssertionError("a forged answer verifies")
    print(method, target, got.status)
    return got


def main():
    record = "/silos/office/records/nas"
    call("PUT", record, b'{"ip":"10.0.0.7"}', content_type="application/json")
    tag = call("GET", "/silos/office").getheader("etag")
    call("GET", "/silos/office", if_none_match=tag)
    call("GET", "/silos/office?format=hosts")
    call("GET", "/ip")
    call("GET", "/silos/none")
    call("PUT", record, b'{"ip":"10.0.0.8"}', content_type="application/json", if_match='"1"')
    call("PUT", record, b"{}", content_type="application/json")
    call("DELETE", record + "?family=4")


main()
