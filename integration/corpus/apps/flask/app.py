"""Notes: a web application in the ordinary style."""
import datetime
import io

import babel.dates
import babel.numbers
import click
import flask
import sqlalchemy
import sqlalchemy.orm
import yaml

app = flask.Flask(__name__)
app.secret_key = "for the session"
with open("settings.yaml", encoding="utf-8") as f:
    app.jinja_env.globals["settings"] = yaml.safe_load(f)

Base = sqlalchemy.orm.declarative_base()


class Note(Base):
    __tablename__ = "note"
    id = sqlalchemy.Column(sqlalchemy.Integer, primary_key=True)
    body = sqlalchemy.Column(sqlalchemy.Text, nullable=False)


engine = sqlalchemy.create_engine("sqlite:////tmp/notes.db")
Base.metadata.create_all(engine, checkfirst=True)


@app.get("/")
def index():
    with sqlalchemy.orm.Session(engine) as session:
        return flask.render_template("index.html", notes=session.query(Note).order_by(Note.id).all())


@app.post("/notes")
def add():
    with sqlalchemy.orm.Session(engine) as session:
        note = Note(body=flask.request.form["body"])
        session.add(note)
        session.commit()
        return flask.jsonify(id=note.id), 201


@app.get("/date")
def date():
    at = datetime.datetime.fromtimestamp(1700000000, datetime.timezone.utc)
    locale, zone = flask.request.args["locale"], flask.request.args["zone"]
    return babel.dates.format_datetime(at, "full", tzinfo=babel.dates.get_timezone(zone), locale=locale)


@app.get("/price")
def price():
    return babel.numbers.format_currency(1234.5, flask.request.args["currency"], locale=flask.request.args["locale"])


@app.get("/picture.<fmt>")
def picture(fmt):
    import PIL.Image
    import PIL.ImageDraw

    image = PIL.Image.new("RGB", (40, 30), "white")
    PIL.ImageDraw.Draw(image).text((2, 2), "x", fill="black")
    out = io.BytesIO()
    image.save(out, fmt)
    return out.getvalue(), {"Content-Type": f"image/{fmt}"}


@app.get("/markdown")
def markdown():
    import markdown

    return markdown.markdown("# T\n\n| a |\n|---|\n| b |\n", extensions=["tables", "toc", "fenced_code"])


@app.get("/peer")
def peer():
    import requests

    with open(requests.certs.where(), encoding="utf-8") as f:
        certificates = f.read().count("BEGIN CERTIFICATE")
    return flask.jsonify(status=requests.get("http://127.0.0.1:8000/static/style.css", timeout=5).status_code, certificates=certificates > 100)


@app.get("/other-database")
def other_database():
    try:
        sqlalchemy.create_engine("postgresql://u:p@127.0.0.1:1/x").connect()
    except sqlalchemy.exc.OperationalError as err:
        return str(err.orig).splitlines()[0]
    return "connected"


@app.get("/session")
def session():
    flask.session["n"] = flask.session.get("n", 0) + 1
    flask.flash("counted")
    return flask.jsonify(n=flask.session["n"], flashed=flask.get_flashed_messages())


@app.get("/broken")
def broken():
    raise RuntimeError("broken on purpose")


@app.errorhandler(404)
def missing(err):
    return flask.render_template("missing.html", path=flask.request.path), 404


@app.cli.command("count")
def count():
    """Prints how many notes there are."""
    with sqlalchemy.orm.Session(engine) as session:
        click.echo(f"{session.query(Note).count()} notes")
