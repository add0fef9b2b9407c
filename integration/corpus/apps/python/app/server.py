"""A small service over TLS: visits in a database, a checksum in C."""
import ctypes
import datetime
import http.server
import importlib.resources
import json
import signal
import sqlite3
import ssl
import sys
import threading
import urllib.parse
import zlib
import zoneinfo

import gauge

from app import more

zones = json.loads(importlib.resources.files("app").joinpath("zones.json").read_text())
db = sqlite3.connect("/tmp/visits.db", check_same_thread=False)
db.execute("CREATE TABLE IF NOT EXISTS visit (name TEXT, at REAL)")
libc = ctypes.CDLL("libc.so.6")


def visit(query):
    name = query.get("name", "nobody")
    with db:
        db.execute("INSERT INTO visit VALUES (?, ?)", (name, 1700000000.0))
    (count,) = db.execute("SELECT count(*) FROM visit").fetchone()
    zone = zoneinfo.ZoneInfo(zones[query.get("zone", "vienna")])
    return {
        "name": name,
        "visits": count,
        "at": datetime.datetime.fromtimestamp(1700000000, zone).isoformat(),
        "sum": gauge.sum(name.encode()) == zlib.adler32(name.encode()),
        "abs": libc.abs(-7),
    }


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/visit":
            answer = visit(query)
        elif url.path == "/more":
            answer = more.answer(query["what"])
        else:
            self.send_error(404)
            return
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    plain = http.server.ThreadingHTTPServer(("", 8000), Handler)
    threading.Thread(target=plain.serve_forever, daemon=True).start()
    secure = http.server.ThreadingHTTPServer(("", 8443), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/srv/certs/cert.pem", "/srv/certs/key.pem")
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    secure.serve_forever()


if __name__ == "__main__":
    main()
