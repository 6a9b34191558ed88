#!/usr/bin/env python3
"""Reports this machine's address to a Silo hub with signed requests, which are safe over plain HTTP.

Needs only Python 3.6 or newer. Prints a line when the address has changed and when something is wrong,
and otherwise nothing, so that cron sends no mail.

Exit codes: 0 done, changed or not; 1 failed, a later run may succeed; 2 the command line, the token file or
the hub's URL is wrong.
"""

import argparse
import base64
import calendar
import email.utils
import hashlib
import hmac
import http.client
import ipaddress
import json
import os
import secrets
import socket
import stat
import sys
import time
import urllib.parse

TIMEOUT_SECONDS = 20
LONGEST_ANSWER = 1024 * 1024
LONGEST_LOG = 1024 * 1024


class Failed(Exception):
    """This run failed; a later one may succeed."""


class Wrong(Exception):
    """The command line or a file that it names is wrong."""


def mac(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def digest(content):
    return "sha-256=:" + base64.b64encode(hashlib.sha256(content).digest()).decode() + ":"


def sign(key, values, parameters):
    """The fields Signature-Input and Signature for these components (RFC 9421)."""
    given = "(" + " ".join(name for name, _ in values) + ")" + parameters
    base = "".join("{}: {}\n".format(name, value) for name, value in values)
    base += '"@signature-params": ' + given
    signature = base64.b64encode(mac(key, base.encode("ascii"))).decode()
    return "silo=" + given, "silo=:" + signature + ":"


class Hub:
    def __init__(self, url, token):
        at = urllib.parse.urlsplit(url)
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        try:
            at.port
        except ValueError:
            raise Wrong("--hub {}: the port is not a number up to 65535".format(url))
        if at.scheme not in kinds or not at.hostname or "@" in at.netloc or at.query or at.fragment:
            raise Wrong("--hub {}: expected a URL such as http://hub.lan:8053".format(url))
        self.connect = kinds[at.scheme]
        self.authority = at.netloc.lower()
        self.before = at.path.rstrip("/")
        self.name = url
        self.key = mac(token.encode(), b"silo http-signature v1")
        self.key_id = token.split("_")[1]

    def call(self, method, path, content=None):
        """Sends a signed request; returns status, headers and content. Fails if the hub did not sign them."""
        path = self.before + path
        body = b"" if content is None else json.dumps(content).encode()
        request = [("@method", method), ("@authority", self.authority), ("@path", path), ("@query", "?")]
        sent = []
        if body:
            sent = [("content-digest", digest(body)), ("content-type", "application/json")]
        values = [('"' + name + '"', value) for name, value in request + sent]
        parameters = ';created={};nonce="{}";keyid="{}";alg="hmac-sha256"'.format(
            int(time.time()), secrets.token_hex(16), self.key_id
        )
        given, signature = sign(self.key, values, parameters)
        headers = dict(sent, host=self.authority, signature=signature)
        headers["signature-input"] = given
        connection = self.connect(self.authority, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read(LONGEST_ANSWER)
        except socket.timeout:
            raise Failed("{} did not answer within {} s".format(self.name, TIMEOUT_SECONDS))
        except (OSError, http.client.HTTPException) as error:
            # An answer that is not HTTP is in the error unchanged, with its line breaks.
            why = " ".join(str(error).split()) or type(error).__name__
            raise Failed("{} cannot be reached: {}".format(self.name, why))
        finally:
            connection.close()
        got = {name.lower(): value for name, value in answer.getheaders()}
        self.verify(answer.status, got, content, request, signature)
        return answer.status, got, content

    def verify(self, status, got, content, request, sent):
        """The hub signs every answer to a signed request whose token it knows."""
        values = [('"@status"', str(status))]
        if content:
            values.append(('"content-digest"', digest(content)))
        if "etag" in got:
            values.append(('"etag"', got["etag"]))
        if "silo-database" in got:
            values.append(('"silo-database"', got["silo-database"]))
        values += [('"' + name + '";req', value) for name, value in request]
        values.append(('"signature";req', sent))
        given = got.get("signature-input", "")
        try:
            expected, signature = sign(self.key, values, given[given.find(")") + 1 :])
            genuine = given == expected and hmac.compare_digest(got.get("signature", ""), signature)
        except (TypeError, UnicodeError):
            genuine = False
        if genuine:
            return
        if given:
            raise Failed("the answer ({}) is not from the hub: its signature is wrong".format(status))
        if status == 401:
            raise Failed("401: the hub does not know the token: is it revoked, mistyped or for another hub?")
        raise Failed(
            "the answer ({}) is not signed: {} is not the hub, or is a proxy that can't reach it".format(
                status, self.name
            )
        )


def refusal(status, got, content):
    """Explains why the hub refused a request."""
    try:
        problem = json.loads(content.decode())
        kind, detail = problem.get("type", ""), problem.get("detail") or problem.get("title", "")
    except (ValueError, AttributeError):
        kind, detail = "", content[:200].decode("ascii", "replace")
    if kind == "/problems/clock":
        hub = email.utils.parsedate_tz(got.get("date", ""))
        off = int(time.time()) - calendar.timegm(hub[:6]) if hub else None
        if off is None:
            return "401 clock: this machine's clock and the hub's differ by more than 300 s"
        side = "ahead of" if off > 0 else "behind"
        return "401 clock: this machine's clock is {} s {} the hub's: correct it".format(abs(off), side)
    if kind == "/problems/order":
        return "401 order: the hub accepted a request that was signed later than this one: was a clock set back? Run again"
    if kind == "/problems/replay":
        return "401 replay: the hub has received this request before: something on the network repeats requests. Run again"
    if status == 403:
        return "403: the token may not do this: it needs the role write, this silo and this hostname ({})".format(detail)
    return "{}: {}".format(status, detail)


def token_in(file):
    try:
        with open(file, encoding="utf-8-sig") as opened:
            if os.name == "posix" and stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & 0o077:
                raise Wrong("--token-file {}: others can read it: run `chmod 600 {}`".format(file, file))
            token = opened.read().strip()
    except (OSError, UnicodeError) as error:
        raise Wrong("--token-file {}: {}".format(file, getattr(error, "strerror", None) or error))
    parts = token.split("_", 2)
    if len(parts) != 3 or parts[0] != "silo" or len(parts[1]) != 10 or not token.isprintable() or " " in token:
        raise Wrong("--token-file {}: holds no token (silo_…)".format(file))
    return token


def own_address(hub, source):
    """The address to report, from the source that the command line names."""
    if source == "hub":
        status, got, content = hub.call("GET", "/ip")
        if status != 200:
            raise Failed("GET /ip: " + refusal(status, got, content))
        return ipaddress.ip_address(json.loads(content.decode())["ip"])
    if source == "route":
        host = urllib.parse.urlsplit("//" + hub.authority)
        try:
            family, _, _, _, target = socket.getaddrinfo(host.hostname, host.port or 80, 0, socket.SOCK_DGRAM)[0]
            # Nothing is sent: the system only chooses the address that it would send from.
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(target)
                return ipaddress.ip_address(probe.getsockname()[0].split("%")[0])
        except OSError as error:
            raise Failed("no route to {}: {}".format(hub.name, error))
    return ipaddress.ip_address(source)


def check(address, within, given):
    if address.is_unspecified or address.is_multicast:
        raise Failed("{} is not a usable address: nothing is reported".format(address))
    if not given and (address.is_loopback or address.is_link_local):
        raise Failed("{} can't be reached from other machines: nothing is reported".format(address))
    if within and not any(address in network for network in within):
        raise Failed("{} is not within {}: nothing is reported".format(address, ", ".join(map(str, within))))


class State:
    """The state directory with the last address and the log."""

    def __init__(self, folder):
        self.folder = folder
        self.last_file = os.path.join(folder, "last")
        self.log_file = os.path.join(folder, "log")

    def last(self):
        """Address and time of the last report that changed something; None: there was none."""
        try:
            with open(self.last_file) as opened:
                return tuple(opened.read().split()) or None
        except (OSError, UnicodeError):
            return None

    def keep(self, address):
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        new = self.last_file + ".new"
        with open(new, "w") as opened:
            opened.write("{} {}\n".format(address, now()))
        os.replace(new, self.last_file)

    def log(self, line):
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        if os.path.exists(self.log_file) and os.path.getsize(self.log_file) > LONGEST_LOG:
            os.replace(self.log_file, self.log_file + ".1")
        with open(self.log_file, "a", encoding="utf-8") as opened:
            opened.write("{} {}\n".format(now(), line))


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def update(args, state):
    hub = Hub(args.hub, token_in(args.token_file))
    address = own_address(hub, args.address)
    check(address, args.within, args.address not in ("hub", "route"))
    place = "/silos/{}/records/{}".format(args.silo, args.hostname)
    status, got, content = hub.call("PUT", place, {"ip": str(address)})
    if status not in (200, 201):
        raise Failed("{} is not set: {}".format(args.hostname, refusal(status, got, content)))
    last = state.last()
    if got.get("silo-changed") != "?0" or last is None or last[0] != str(address):
        line = "{}: {} is {}".format(args.silo, args.hostname, address)
        if last is not None and last[0] != str(address):
            line += ", was " + last[0]
        print(line)
        try:
            state.keep(address)
            state.log(line)
        except OSError as error:
            raise Failed("the hub has {}, but the state folder can't be written: {}".format(address, error))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", nargs="?", choices=["update", "last"], default="update",
                        help="update (default): report the address; last: print the last one and since when")
    parser.add_argument("--hub", help="the hub's URL, such as http://hub.lan:8053")
    parser.add_argument("--silo", help="the silo")
    parser.add_argument("--hostname", help="the record's hostname")
    parser.add_argument("--token-file", help="a file with the token that only its owner can read")
    parser.add_argument("--address", default="hub",
                        help="hub (default): the address that the hub sees; route: the local address towards the hub; or an address")
    parser.add_argument("--within", action="append", default=[], type=ipaddress.ip_network,
                        help="report only addresses of this network; may be repeated")
    parser.add_argument("--state-dir", default=os.path.join(os.path.expanduser("~"), ".local/state/silo-ipupdate"),
                        help="directory for the last address and the log (%(default)s)")
    args = parser.parse_args()
    if args.command == "update":
        for name in ("hub", "silo", "hostname", "token_file"):
            if not getattr(args, name):
                parser.error("--{} is missing".format(name.replace("_", "-")))
        for name in ("silo", "hostname"):
            value = getattr(args, name)
            if not all(c.isalnum() and ord(c) < 128 or c in "._-" for c in value):
                parser.error("--{}: {} is not a valid {}".format(name, value, name))
    if args.address not in ("hub", "route"):
        try:
            ipaddress.ip_address(args.address)
        except ValueError:
            parser.error("--address: {} is neither hub, route nor an address".format(args.address))
    return args


def main():
    args = arguments()
    state = State(args.state_dir)
    if args.command == "last":
        last = state.last()
        if last is None:
            print("silo-ipupdate: no address was reported yet", file=sys.stderr)
            return 1
        print(*last)
        return 0
    try:
        update(args, state)
    except Wrong as error:
        print("silo-ipupdate: {}".format(error), file=sys.stderr)
        return 2
    except (Failed, ValueError, KeyError, TypeError) as error:
        # Any other exception means that the hub's answer can't be parsed.
        line = str(error) if isinstance(error, Failed) else "the hub's answer can't be read: {!r}".format(error)
        print("silo-ipupdate: {}".format(line), file=sys.stderr)
        try:
            state.log("failed: " + line)
        except OSError as full:
            print("silo-ipupdate: the log can't be written: {}".format(full), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
