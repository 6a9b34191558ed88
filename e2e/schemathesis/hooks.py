"""What scripts/schemathesis needs beside the OpenAPI document: values that JSON Schema can't describe, and limits of the run.

SILO_KEEP_TOKENS: the ids of the tokens of the run, which must stay as they are.
SILO_ROLE: the role of the token of the run.
SILO_REVISION: a revision in the history of the silo "office".
SILO_COUNTS: a file that gets the number of answers of each status.
"""

import atexit
import collections
import itertools
import json
import os
import random
import re
import threading

import schemathesis
from hypothesis import strategies as st

KEEP = os.environ["SILO_KEEP_TOKENS"].split()
LIMITED = os.environ["SILO_ROLE"] != "admin"
REVISION = int(os.environ["SILO_REVISION"])

# Hostnames: the document describes them in words.
LABEL = st.from_regex(r"[a-z_][a-z0-9_]{0,8}(-[a-z0-9_]{1,4})?", fullmatch=True)
RESERVED = re.compile(r"^(broadcasthost$|ip6-|(.*\.)?(localhost|invalid|onion|alt)$)")
HOSTNAMES = st.lists(LABEL, min_size=1, max_size=3).map(".".join)
HOSTNAMES = HOSTNAMES.filter(lambda name: not RESERVED.match(name) and not re.search(r"(^|\.)(0x[^.]*|\d+)$", name))
schemathesis.openapi.format("silo-hostname", HOSTNAMES)
# Times must be in the future.
schemathesis.openapi.format(
    "date-time",
    st.datetimes(min_value=__import__("datetime").datetime(2100, 1, 1)).map(lambda time: time.strftime("%Y-%m-%dT%H:%M:%SZ")),
)


# Numbers of the requests.
SENT = itertools.count(1)

# The members of a record's body that name an address.
ADDRESSES = {"ip", "ips", "ip4", "ip6"}


def is_valid(case):
    """Whether the case is meant to be accepted."""
    meta = case.meta
    return meta is not None and meta.generation.mode.is_positive


@schemathesis.hook
def before_call(context, case, kwargs):
    # Wrong credentials are counted by address: more than ten a minute are refused. Hypothesis seeds `random`, so that it
    # would give the same addresses again.
    number = next(SENT)
    case.headers["X-Forwarded-For"] = f"198.{18 + number // 65_536 % 2}.{number // 256 % 256}.{number % 256}"
    for name in list(case.headers):
        # A wait of up to five minutes is tested apart.
        if name.lower() == "prefer":
            case.headers[name] = re.sub(r"wait *= *\"?\d+", "wait=1", str(case.headers[name]))
    if case.path_parameters and case.path_parameters.get("token") in KEEP:
        case.path_parameters["token"] = "aaaaaaaaaa"
    if not is_valid(case):
        return
    # Half of the requests are for what is there.
    path = case.path_parameters or {}
    for name, there in (("id", "office"), ("hostname", "db")):
        if name in path and random.random() < 0.5:
            path[name] = there
        # What the tokens of limited roles may read or write; now and then what they may not.
        elif name in path and LIMITED and random.random() < 0.8:
            path[name] = random.choice(["a", "ab", "a-1"])
    # Opaque: only those of a `Link` are taken, which schemathesis does not follow.
    if case.query:
        case.query.pop("cursor", None)
        if case.operation.label == "GET /records":
            case.query.pop("after", None)
    body = case.body
    # A time that an answer had lies in the past.
    for member in ("expires_at", "token_expires_at"):
        if isinstance(body, dict) and str(body.get(member) or "2099") < "2099":
            body[member] = "2099-01-01T00:00:00Z"
    if case.operation.label == "PUT /silos/{id}" and isinstance(body, dict):
        # What must agree with the path or the state.
        for member in ("id", "revision"):
            body.pop(member, None)
        seen = set()
        for record in list(body.get("dnsrecords", [])):
            key = (record["hostname"].lower().rstrip("."), ":" in record["ip"])
            if key in seen:
                body["dnsrecords"].remove(record)
            seen.add(key)
    if case.operation.label == "PUT /silos/{id}/records/{hostname}" and isinstance(body, dict):
        for member in ("hostname", "silo"):
            body.pop(member, None)
        # A new hostname needs an address.
        if not ADDRESSES & set(body):
            body["ip"] = "10.0.0.9"
    if case.operation.label == "POST /silos/{id}/revert" and isinstance(body, dict):
        # Only revisions of the silo's history are taken.
        case.path_parameters["id"] = "office"
        body["revision"] = REVISION
    if case.operation.label == "PATCH /silos/{id}/records" and isinstance(body, dict):
        # Only records that are there can be removed, and the revision must be the silo's.
        body.pop("remove", None)
        body.pop("revision", None)
        if "set" not in body:
            body["set"] = [{"hostname": "db", "ip": "10.0.0.5"}]
        if LIMITED and random.random() < 0.8:
            for entry in body["set"]:
                entry["hostname"] = random.choice(["a", "ab", "a-1"])
        # Each hostname once.
        seen = set()
        for entry in list(body.get("set") or []):
            hostname = entry["hostname"].lower().rstrip(".")
            if hostname in seen:
                body["set"].remove(entry)
            seen.add(hostname)
            if not ADDRESSES & set(entry):
                entry["ip"] = "10.0.0.9"
    if case.operation.label == "POST /invitations" and isinstance(body, dict):
        # Together at most 1024 characters, and each one a URL.
        body["urls"] = ["http://hub.lan:8053"]
    if case.operation.label == "POST /tokens/{token}/rotate" and isinstance(body, dict):
        # For the token itself, which must stay as it is.
        body.pop("public_key", None)
    if case.operation.label == "PATCH /tokens/{token}" and isinstance(body, dict):
        # What must agree with the token and its role.
        for member in ("id", "role", "silos", "hostnames"):
            body.pop(member, None)


COUNTS = collections.Counter()
LOCK = threading.Lock()


@schemathesis.hook
def after_call(context, case, response):
    with LOCK:
        COUNTS[response.status_code] += 1


@atexit.register
def write_counts():
    with open(os.environ["SILO_COUNTS"], "w", encoding="utf-8") as file:
        json.dump(COUNTS, file)
