"""A small Flask application: a page that remembers its visitors in a database."""

import os
import sqlite3
import zoneinfo
from datetime import datetime, timezone

from flask import Flask, g, jsonify, render_template, request

app = Flask(__name__)
DATABASE = os.path.join(os.environ.get("DATA_DIR", "/app/data"), "visits.db")


def database():
    if "db" not in g:
        g.db = sqlite3.connect(DATABASE)
        g.db.execute("CREATE TABLE IF NOT EXISTS visits (name TEXT, at TEXT)")
    return g.db


@app.teardown_appcontext
def close(_error):
    if "db" in g:
        g.db.close()


@app.get("/")
def index():
    name = request.args.get("name", "world")
    now = datetime.now(timezone.utc)
    with database() as db:
        db.execute("INSERT INTO visits VALUES (?, ?)", (name, now.isoformat()))
    return render_template("index.html", name=name)


@app.get("/visits")
def visits():
    zone = zoneinfo.ZoneInfo(request.args.get("zone", "UTC"))
    rows = database().execute("SELECT name, at FROM visits ORDER BY at").fetchall()
    return jsonify([{"name": name, "at": datetime.fromisoformat(at).astimezone(zone).isoformat()} for name, at in rows])
