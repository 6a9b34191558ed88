"""An SMTP server for the tests, on aiosmtpd: files every mail it takes, and refuses whom it is told to.

    smtp_server.py serve FOLDER PORT starttls|tls|none [USER PASSWORD_FILE]
    smtp_server.py read FILE          prints one mail as the server files it

FOLDER holds cert.pem and key.pem, and gets a file N.json a mail: envelope, headers and parts as
Python's own mail parser understands them, whether it came encrypted, and as whom. `log` gets a line
for every command of interest, so that a test can tell what was asked for at all. Port 0 is any; the
first line printed is the port.

The answers depend on the local part of the address:
  refused@     550 at RCPT            busy@       451 at RCPT while FOLDER/busy exists
  full@        552 at the message     away@       421 at RCPT
  bad-sender@  553 at MAIL            later@      451 at the message while FOLDER/busy exists
  late@        takes the message and answers when FOLDER/late is gone
  dropped@     takes the message and closes the connection without an answer while FOLDER/busy exists
"""

import asyncio
import json
import logging
import signal
import ssl
import sys
import warnings
from email import message_from_bytes, policy
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


def parsed(raw):
    message = message_from_bytes(raw, policy=policy.default)
    parts = [part for part in message.walk() if not part.is_multipart()]
    return {
        "headers": [[name, str(value)] for name, value in message.items()],
        "raw_headers": raw.partition(b"\r\n\r\n")[0].decode("utf-8", "surrogateescape"),
        "kind": message.get_content_type(),
        "parts": [[part.get_content_type(), part.get_content().replace("\r\n", "\n")] for part in parts],
        "defects": [str(defect) for part in message.walk() for defect in part.defects],
    }


class Filing:
    def __init__(self, folder):
        self.folder = folder
        self.count = len(list(folder.glob("*.json")))

    def log(self, line):
        with open(self.folder / "log", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def busy(self):
        return (self.folder / "busy").exists()

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        self.log(f"EHLO {hostname}")
        return responses

    async def handle_MAIL(self, server, session, envelope, address, options):
        self.log(f"MAIL {address}")
        if address.startswith("bad-sender@"):
            return "553 5.7.1 <%s>: not your address" % address
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        self.log(f"RCPT {address}")
        local = address.partition("@")[0]
        if local == "refused":
            return "550 5.1.1 <%s>: no such user" % address
        if local == "busy" and self.busy():
            return "451 4.2.0 <%s>: try again later" % address
        if local == "away":
            return "421 4.3.2 going down"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        local = envelope.rcpt_tos[0].partition("@")[0]
        if local == "full":
            return "552 5.2.2 mailbox full"
        if local == "later" and self.busy():
            return "451 4.3.0 not now"
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "encrypted": session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None,
            "user": session.auth_data.login.decode() if session.authenticated else None,
            **parsed(envelope.original_content),
        }
        self.count += 1
        new = self.folder / "new"
        new.write_text(json.dumps(mail), encoding="utf-8")
        new.rename(self.folder / f"{self.count:06}.json")
        if local == "dropped" and self.busy():
            server.transport.abort()
        while local == "late" and (self.folder / "late").exists():
            await asyncio.sleep(0.02)
        return "250 OK"

    async def handle_QUIT(self, server, session, envelope):
        self.log("QUIT")
        return "221 Bye"


async def serve(folder, port, security, user=None, password_file=None):
    context = None
    if security != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")

    def authenticate(server, session, envelope, mechanism, data):
        password = Path(password_file).read_text(encoding="utf-8").rstrip("\n")
        right = isinstance(data, LoginPassword) and (data.login.decode(), data.password.decode()) == (user, password)
        handler.log(f"AUTH {mechanism} {'right' if right else 'wrong'}")
        return AuthResult(success=right, handled=False, auth_data=data)

    handler = Filing(folder)
    options = {"hostname": "localhost"}
    if security == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    if user:
        options |= {
            "authenticator": authenticate,
            "auth_required": True,
            "auth_require_tls": security == "starttls",
        }
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, **options),
        "127.0.0.1",
        port,
        ssl=context if security == "tls" else None,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    # The test that started it holds its standard input open for as long as it runs.
    await loop.connect_read_pipe(lambda: EndOfInput(ended), sys.stdin)
    await ended.wait()


class EndOfInput(asyncio.Protocol):
    def __init__(self, ended):
        self.ended = ended

    def connection_lost(self, error):
        self.ended.set()


# It says at length that passwords without STARTTLS are no good; some of the tests want just that.
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

if sys.argv[1] == "serve":
    asyncio.run(serve(Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
else:
    print(json.dumps(parsed(Path(sys.argv[2]).read_bytes().replace(b"\n", b"\r\n"))))
