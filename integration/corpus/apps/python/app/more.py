"""Questions that use the rest of the standard library. Each imports what it
needs when it is asked, as a large application does."""


def encodings():
    return ["日本".encode(name).hex() for name in ("shift_jis", "euc_jp", "gb18030", "utf-7")] + ["Привет".encode("koi8-r").hex()]


def archives():
    import bz2
    import io
    import lzma
    import tarfile
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as z:
        z.writestr("a", "zipped")
    with zipfile.ZipFile(buffer) as z:
        zipped = z.read("a").decode()
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w:xz") as t:
        t.addfile(tarfile.TarInfo("b"))
    return [zipped, bz2.decompress(bz2.compress(b"x")).decode(), lzma.decompress(lzma.compress(b"y")).decode(), len(tarred.getvalue()) > 0]


def xml():
    import xml.dom.minidom
    import xml.etree.ElementTree
    import xml.sax

    return [xml.etree.ElementTree.fromstring("<a><b/></a>")[0].tag, xml.dom.minidom.parseString("<c/>").documentElement.tagName]


def mail():
    import email.message
    import email.policy
    import smtplib

    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["Subject"] = "Grüße"
    message.set_content("Grüße")
    return [message.as_bytes().count(b"=?utf-8?"), smtplib.SMTP_PORT]


def processes():
    import multiprocessing
    import subprocess
    import sys

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        squares = pool.map(abs, [-1, -2])
    return [squares, subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True, check=True).stdout.strip()]


def loops():
    import asyncio
    import concurrent.futures

    async def add():
        loop = asyncio.get_running_loop()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            return await loop.run_in_executor(pool, sum, [1, 2, 3])

    return asyncio.run(add())


def libraries():
    import ctypes
    import ctypes.util

    found = ctypes.util.find_library("z")
    crypto = ctypes.CDLL("libcrypto.so.3")
    return [found, crypto.OPENSSL_version_major() if hasattr(crypto, "OPENSSL_version_major") else 0]


def hashes():
    import hashlib

    return [
        hashlib.scrypt(b"p", salt=b"s", n=2, r=1, p=1, dklen=4).hex(),
        hashlib.new("sha3_256", b"x").hexdigest()[:8],
        hashlib.new("ripemd160", b"x").hexdigest()[:8] if "ripemd160" in hashlib.algorithms_available else "absent",
        hashlib.blake2s(b"x").hexdigest()[:8],
    ]


def certificates():
    import ssl

    return [len(ssl.create_default_context().get_ca_certs()) > 100, ssl.get_default_verify_paths().openssl_cafile]


def accounts():
    import getpass
    import os
    import pwd
    import socket

    return [pwd.getpwuid(os.getuid()).pw_name, socket.getaddrinfo("localhost", 80, socket.AF_INET)[0][4][0], getpass.getuser(), os.path.expanduser("~")]


def terminals():
    import curses
    import readline

    curses.setupterm("xterm-256color", 1)
    return [curses.tigetnum("colors"), readline.get_history_length()]


def numbers():
    import decimal
    import fractions
    import statistics

    return [str(decimal.Decimal(1) / 7), str(fractions.Fraction("0.125")), statistics.mean([1, 2, 3])]


def text():
    import difflib
    import gettext
    import locale
    import textwrap
    import unicodedata

    return [
        unicodedata.name("ß"), unicodedata.unidata_version > "1", list(difflib.ndiff(["a"], ["b"]))[0], gettext.gettext("x"),
        textwrap.shorten("a b c d", 5), locale.setlocale(locale.LC_ALL, "C.UTF-8"),
    ]


def stores():
    import dbm
    import pickle
    import shelve

    with shelve.open("/tmp/shelf") as shelf:
        shelf["k"] = {"v": 1}
    with shelve.open("/tmp/shelf") as shelf:
        kept = shelf["k"]
    return [kept, dbm.whichdb("/tmp/shelf"), pickle.loads(pickle.dumps({1})) == {1}]


def zones():
    import zoneinfo

    return [len(zoneinfo.available_timezones()) > 400, zoneinfo.ZoneInfo("America/Argentina/Ushuaia").key]


def memory():
    import mmap
    import resource
    import uuid

    with mmap.mmap(-1, 10) as m:
        m.write(b"mapped")
    return [uuid.uuid5(uuid.NAMESPACE_DNS, "x").version, resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0]


def tracing():
    import cProfile
    import io
    import logging.config
    import pdb
    import pstats
    import traceback

    profile = cProfile.Profile()
    profile.runcall(sum, [1])
    out = io.StringIO()
    pstats.Stats(profile, stream=out).print_stats()
    logging.config.dictConfig({"version": 1})
    try:
        raise ValueError("x")
    except ValueError:
        last = traceback.format_exc().splitlines()[-1]
    return ["function calls" in out.getvalue(), last, pdb.__name__]


# Modules of other systems, and those that Debian has in packages of their own.
elsewhere = """
_msi _overlapped _scproxy _winapi msilib msvcrt nt winreg winsound
_gdbm ensurepip idlelib lib2to3 tkinter _tkinter turtle turtledemo
antigravity this
""".split()


def imports():
    """Every module of the standard library that this machine can have."""
    import importlib
    import sys
    import warnings

    warnings.simplefilter("ignore")
    failed = []
    for name in sorted(sys.stdlib_module_names):
        if name in elsewhere:
            continue
        try:
            importlib.import_module(name)
        except ImportError as err:
            failed.append(f"{name}: {err}")
    return failed


questions = {f.__name__: f for f in list(globals().values()) if callable(f)}


def answer(what):
    try:
        return questions[what]()
    except Exception as err:
        return f"{type(err).__name__}: {err}"
