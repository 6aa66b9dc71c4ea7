"""How others are told: real servers on loopback, the published shapes, and content that would do harm."""

from __future__ import annotations

import base64
import csv
import email
import email.policy
import hashlib
import hmac
import json
import os
import socket
import ssl
import tarfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from receivers import Postbox, Receiver

from unibody.dialects import writers
from unibody.dialects.writers import Outcome, Parcel, drop, mail, shape, webhook
from unibody.errors import SetupError

OURS = shape.find([Path(writers.__file__).parent])
NOW = datetime(2026, 6, 1, 8, 30, tzinfo=UTC)
BPN = "BPNL0123456789ZZ"
WITH = {
    "sender_bpn": BPN, "receiver_bpn": "BPNL9876543210AA", "supplier_id": "S-77", "part_number": "PN-1", "order_number": "O-1", "company": "Unibody Cars",
    "city": "Torino", "country": "Italy", "email": "quality@example.com", "contact": "Anna Rossi",
}  # fmt: skip
HOSTILE = '<script>alert(1)</script>\r\nBcc: eve@example.com\r\n\r\n=HYPERLINK("http://evil")\t{with.contact} {key} \u202e 🚗 \x00'
DECISION: dict[str, Any] = {
    "decision_id": "ab12", "revision": 2, "decided_at": NOW, "usecase": "bad_lot", "subject": "lot L-7", "action": "hold the lot", "reason": "12 of 80 failed",
    "score": 1.5, "value": float("nan"), "risk": "high", "bundle": "case 7",
    "evidence": [
        {"table": "part", "lot": "L-7", "vin": ["VF3A", "VF3B"]}, {"vin": "VF3B", "part": "hose"}, {"catenax_id": "urn:uuid:580d3adf-1981-44a0-a214-13d6ceed9000"}, {"message": {"kind": "stock_block", "status": "blocked"}, "counter": {"kind": "stock_block", "status": "free"}},
    ],
}  # fmt: skip


def told(name: str, decision: dict[str, Any] = DECISION, counter: bool = False) -> Any:
    """The message that a writer makes of a decision."""
    key = "ab12_2_77777777"
    known = shape.words(decision, key + "_revert" if counter else key, key if counter else "", WITH, NOW)
    return shape.filled(OURS[name], known, counter)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


@pytest.fixture
def postbox() -> Iterator[Postbox]:
    found = Postbox()
    yield found
    found.close()


# ---- shapes


def test_the_writers_of_the_how_to_are_there():
    page = (Path(__file__).parent.parent / "docs/how-to/act.md").read_text()
    named = {
        n
        for line in page.splitlines()
        if line.startswith("| `")
        for n in line.split("|")[1].replace("`", "").replace(",", " ").split()
    }
    assert named == set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_every_writer_says_what_it_is_for_and_can_take_back(name):
    assert OURS[name].about and OURS[name].transport in writers.TRANSPORTS
    first, back = told(name), told(name, counter=True)
    assert json.loads(json.dumps(first, allow_nan=False)) == first and first != back
    assert "hold the lot" in json.dumps(first) or "L-7" in json.dumps(first)


@pytest.mark.parametrize("name", OURS)
def test_what_a_decision_says_is_never_read_as_a_shape(name):
    hostile = {
        k: HOSTILE if k in ("subject", "action", "reason", "usecase") else v for k, v in DECISION.items()
    }
    for counter in (False, True):
        said = json.dumps(told(name, hostile, counter), ensure_ascii=False)
        assert "{with.contact} {key}" in said and "Anna Rossi ab12" not in said


def schemas(data: Path, aspect: str, version: str) -> dict[str, Any]:
    with tarfile.open(data / "supply/catenax/semantic_models_json.tar.gz") as packed:
        name = next(
            n
            for n in packed.getnames()
            if f"io.catenax.{aspect}/{version}/" in n and n.endswith("-schema.json")
        )
        file = packed.extractfile(name)
        assert file is not None
        found: dict[str, Any] = json.load(file)
        return found


@pytest.fixture(scope="module")
def models() -> Path:
    data = Path(os.environ.get("UNIBODY_DATA", "../shared/data"))
    if not (data / "supply/catenax/semantic_models_json.tar.gz").is_file():
        pytest.skip("no Catena-X models: supply/catenax/semantic_models_json.tar.gz under UNIBODY_DATA")
    return data


@pytest.mark.parametrize("counter", [False, True])
def test_a_quality_notification_is_as_catena_x_publishes_it(models, counter):
    from jsonschema import Draft4Validator

    said = told("catenax_quality_notification", counter=counter)
    Draft4Validator(schemas(models, "shared.message_header", "3.0.0")).validate({"header": said["header"]})
    Draft4Validator(schemas(models, "early_warning_notification", "1.0.0")).validate(said["content"])
    content = said["content"]
    assert content["severity"] == "CRITICAL" and content["poulationFilterList"][0]["valueList"] == ["L-7"]
    assert content["listOfAffectedItems"] == [{"catenaXId": "urn:uuid:580d3adf-1981-44a0-a214-13d6ceed9000"}]
    first = told("catenax_quality_notification")
    assert content["notificationId"] == first["content"]["notificationId"], (
        "the counter-message closes the same one"
    )
    assert (said["header"]["messageId"] != first["header"]["messageId"]) == counter
    assert content["status"] == ("CLOSED" if counter else "ACKNOWLEDGED")


@pytest.mark.parametrize("counter", [False, True])
def test_an_8d_report_is_as_catena_x_publishes_it(models, counter):
    from jsonschema import Draft4Validator

    said = told("report_8d", counter=counter)
    Draft4Validator(schemas(models, "report_8d", "1.0.0")).validate(said)
    assert (
        said["header"]["complaintDate"] == "2026-06-01" and said["stepD2"]["symptomDescription"] == "lot L-7"
    )


def test_a_work_order_names_the_machine_what_to_do_and_how_urgent():
    order = told("work_order")
    assert order["Command"] == "StoreAndStart" and order["JobOrder"]["JobOrderID"] == "ab12_2_77777777"
    assert (
        order["JobOrder"]["EquipmentRequirements"] == [{"ID": "lot L-7", "EquipmentUse": "Maintained"}]
        and order["JobOrder"]["Priority"] == 9
    )
    back = told("work_order", counter=True)
    assert (back["Command"], back["JobOrder"]["JobOrderID"]) == ("Cancel", "ab12_2_77777777")
    flat, undone = told("cmms_work_order"), told("cmms_work_order", counter=True)
    assert (flat["asset"], flat["priority"], flat["status"]) == ("lot L-7", "high", "requested")
    assert (undone["external_id"], undone["status"]) == (flat["external_id"], "cancelled")


def test_a_campaign_is_a_row_a_vehicle_and_a_block_names_its_lots():
    assert [(r["vin"], r["status"]) for r in told("campaign")] == [("VF3A", "open"), ("VF3B", "open")]
    assert {r["status"] for r in told("campaign", counter=True)} == {"cancelled"}
    assert (
        told("stock_block")["lots"] == [{"lot": "L-7"}]
        and told("stock_block", counter=True)["status"] == "unrestricted"
    )
    assert told("as_proposed")["messages"] == [{"kind": "stock_block", "status": "blocked"}] and told(
        "as_proposed"
    )["vins"] == ["VF3A", "VF3B"]
    assert told("as_proposed", counter=True)["messages"] == [{"kind": "stock_block", "status": "free"}]
    for name, word in (("campaign", "vin"), ("stock_block", "lot"), ("as_proposed", "message")):
        with pytest.raises(SetupError, match=f"the decision says nothing for evidence.{word}"):
            told(name, DECISION | {"evidence": []})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("transport = 'mail'\n[message]\na = 1\n[counter]\n", "about = None should say"),
        (
            "about = 'x'\ntransport = 'fax'\n[message]\na = 1\n[counter]\n",
            "transport = 'fax'; there are drop, mail, webhook",
        ),
        (
            "about = 'x'\ntransport = 'mail'\n[message]\na = '{reasn}'\n[counter]\n",
            "no word 'reasn'; did you mean reason",
        ),
        (
            "about = 'x'\ntransport = 'mail'\n[message]\na = { from = 'riks' }\n[counter]\n",
            "no word 'riks'; did you mean risk",
        ),
        ("about = 'x'\ntransport = 'mail'\n[message]\na = 1\n", "counter should be a table"),
        (
            "about = 'x'\ntransport = 'mail'\nmesage = 1\n[message]\na = 1\n[counter]\n",
            "no key 'mesage'; did you mean message",
        ),
        ("based_on = 'own'", "circle or deeper than 5"),
        ("about = ", "cannot be read as TOML"),
    ],
)
def test_a_wrong_shape_is_said_in_words(tmp_path, text, why):
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(SetupError, match=f"own.toml.*{why}"):
        shape.find([tmp_path])


def test_a_shape_of_ones_own_states_only_how_it_differs(tmp_path):
    (tmp_path / "sap.toml").write_text(
        "based_on = 'cmms_work_order'\nabout = 'ours'\nmessage.plant = '{with.plant}'\n"
    )
    found = shape.find([Path(writers.__file__).parent, tmp_path])["sap"]
    known = shape.words(DECISION, "k", "", {"plant": "1000"}, NOW)
    assert shape.filled(found, known) == told("cmms_work_order") | {"external_id": "k", "plant": "1000"}
    with pytest.raises(SetupError, match=r"the route should state with\.plant"):
        shape.filled(found, shape.words(DECISION, "k", "", {}, NOW))


# ---- webhook


def verified(headers: dict[str, str], body: bytes, key: bytes) -> bool:
    """As a receiver would, by the text of the specification."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    right = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(s, f"v1,{right}") for s in headers["webhook-signature"].split())


@pytest.mark.parametrize("how", ["variable", "file"])
def test_a_webhook_is_signed_and_carries_its_key(receiver, monkeypatch, tmp_path, how):
    text = "whsec_" + base64.b64encode(b"k" * 32).decode()
    if how == "file":
        (tmp_path / "secret").write_text(text + "\n")
        monkeypatch.setenv("UNIBODY_SECRET_CMMS_FILE", str(tmp_path / "secret"))
    else:
        monkeypatch.setenv("UNIBODY_SECRET_CMMS", text)
    monkeypatch.setenv("UNIBODY_SECRET_TOKEN", "t0ken")
    done = webhook.send(Parcel("k_1", receiver.url, {"do": "it"}, {"secret": "CMMS", "bearer": "TOKEN"}))
    assert done == Outcome("confirmed", {"status": 201, "answer": '{"number": "WO-1"}'})
    ((headers, body),) = receiver.came
    assert (
        headers["Idempotency-Key"] == headers["webhook-id"] == "k_1"
        and headers["Authorization"] == "Bearer t0ken"
    )
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60 and json.loads(body) == {"do": "it"}
    assert (
        verified(headers, body, b"k" * 32)
        and not verified(headers, body + b" ", b"k" * 32)
        and not verified(headers, body, b"x" * 32)
    )


#: the answer, and what becomes of the message
ANSWERS = [
    (200, {}, "confirmed", ""), (204, {}, "confirmed", ""), (202, {}, "sent", ""), (500, {}, "again", "HTTP 500"), (503, {"Retry-After": "90"}, "again", "HTTP 503"),
    (429, {}, "again", "HTTP 429"), (408, {}, "again", "HTTP 408"), (409, {}, "again", "HTTP 409"), (400, {}, "refused", "HTTP 400"), (401, {}, "refused", "HTTP 401"),
    (404, {}, "refused", "HTTP 404"), (302, {"Location": "http://elsewhere.example/"}, "refused", "sent on to 'http://elsewhere.example/'; redirects are not followed"),
    (307, {"Location": "/other"}, "refused", "redirects are not followed"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "headers", "state", "error"), ANSWERS)
def test_what_an_answer_means(status, headers, state, error):
    server = Receiver(lambda _: (status, headers, b"" if status == 204 else b"said"))
    done = webhook.send(Parcel("k", server.url, {}))
    assert done.state == state and error in done.error and server.requests == 1
    assert done.after_seconds == (90.0 if "Retry-After" in headers else 0.0)
    server.close()


@pytest.mark.parametrize(
    "to",
    ["http://example.com/x", "ftp://example.com", "https://", "https://anna:sesame@example.com/", "https://example.com:99999/", "https://exa mple.com/",
     "https://example.com/\r\nHost: evil", "http://127.0.0.1.example.com/", "//example.com", "", "http://[::1", "https://ex\u00e4mple.com/"],
)  # fmt: skip
def test_an_address_that_is_not_safe_to_post_to_is_refused(to):
    with pytest.raises(SetupError) as e:
        webhook.check(to, {})
    assert "sesame" not in str(e.value)
    assert webhook.send(Parcel("k", to, {})).state == "again"


def test_a_webhook_off_this_machine_checks_the_certificate(tmp_path, monkeypatch):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    private, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")]),
    )
    import ipaddress

    cert = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key()).serial_number(1)
        .not_valid_before(datetime(2020, 1, 1)).not_valid_after(datetime(2099, 1, 1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False).sign(private, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    (tmp_path / "cert").write_bytes(cert.public_bytes(pem))
    (tmp_path / "key").write_bytes(
        private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    server = Receiver(tls=tls)
    stranger = webhook.send(Parcel("k", server.url, {}))
    assert (
        stranger.state == "again" and "CERTIFICATE_VERIFY_FAILED" in stranger.error and server.effects == {}
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
    assert webhook.send(Parcel("k", server.url, {})).state == "confirmed"
    server.close()


def peer(says: bytes, every: float = 0.0) -> tuple[str, socket.socket]:
    """A server that answers like this, a byte at a time where `every` is stated."""
    door = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        try:
            con, _ = door.accept()
            with con:
                for i in range(len(says)) if every else [0]:
                    con.sendall(says[i : i + 1] if every else says)
                    time.sleep(every)
        except OSError:
            pass

    threading.Thread(target=answer, daemon=True).start()
    return f"127.0.0.1:{door.getsockname()[1]}", door


@pytest.mark.parametrize("scheme", ["http", "smtp"])
def test_a_peer_that_drips_is_hung_up_on(scheme):
    where, door = peer(
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 if scheme == "http" else b"220-still here\r\n" * 500,
        every=0.02,
    )
    done: list[Outcome] = []
    if scheme == "http":
        parcel = Parcel("k", f"http://{where}/", {}, seconds_max=0.4)
        by = threading.Thread(target=lambda: done.append(webhook.send(parcel)), daemon=True)
    else:
        parcel = Parcel(
            "k",
            "a@example.com",
            {},
            {"smtp": f"smtp://{where}", "mail_from": "b@example.com"},
            seconds_max=0.4,
        )
        by = threading.Thread(target=lambda: done.append(mail.send(parcel)), daemon=True)
    by.start()
    by.join(30)  # its whole answer would take longer
    assert done and done[0].state == "again"
    door.close()


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"\xff" * 70_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\nx",
    ],
)
def test_a_peer_that_speaks_no_http_is_a_failure_like_any_other(says):
    where, door = peer(says)
    assert webhook.send(Parcel("k", f"http://{where}/", {}, seconds_max=5)).state in ("again", "confirmed")
    door.close()


def test_a_huge_answer_is_kept_in_part():
    server = Receiver(lambda _: (200, {}, b"x" * 5_000_000))
    done = webhook.send(Parcel("k", server.url, {}))
    assert done.state == "confirmed" and len(done.receipt["answer"]) <= writers.ANSWER_CHARACTERS_KEPT
    server.close()


def test_a_secret_is_in_no_message(receiver, monkeypatch, tmp_path):
    monkeypatch.setenv("UNIBODY_SECRET_BAD", "whsec_not base64 sesame!")
    monkeypatch.setenv("UNIBODY_SECRET_LINE", "sesame\r\nX: y")
    monkeypatch.setenv("UNIBODY_SECRET_GONE_FILE", str(tmp_path / "nothing"))
    for options in (
        {"secret": "BAD"},
        {"bearer": "LINE"},
        {"secret": "GONE"},
        {"secret": "NONE"},
        {"secret": "../x"},
    ):
        done = webhook.send(Parcel("k", receiver.url, {}, options))
        assert done.state == "again" and "sesame" not in done.error and done.error
    assert receiver.requests == 0, "nothing leaves unsigned that should be signed"


# ---- mail


def letters(
    postbox: Postbox, body: dict[str, Any], to: str = "anna@example.com", **options: str
) -> tuple[Outcome, Any]:
    done = mail.send(
        Parcel("k_1", to, body, {"smtp": postbox.url, "mail_from": "unibody@plant.example", **options})
    )
    raw = postbox.mails[-1][2] if postbox.mails else b""
    return done, email.message_from_bytes(raw, policy=email.policy.default)


def test_a_mail_arrives_with_its_key_and_the_servers_receipt(postbox):
    done, got = letters(postbox, told("mail"))
    assert done == Outcome(
        "sent", {"code": 250, "answer": "queued as 7", "message_id": "<k_1@plant.example>"}
    )
    assert postbox.mails[0][:2] == ("unibody@plant.example", ["anna@example.com"])
    assert (got["To"], got["Subject"], got["Message-ID"]) == (
        "anna@example.com",
        "hold the lot: lot L-7",
        "<k_1@plant.example>",
    )
    assert "12 of 80 failed" in got.get_content() and got.get_content_type() == "text/plain"


@given(text=st.text(max_size=300))
def test_whatever_a_subject_holds_is_one_header(text):
    parcel = Parcel(
        "k", "anna@example.com", {"subject": text, "text": text}, {"mail_from": "unibody@plant.example"}
    )
    raw = mail.letter(parcel).as_bytes()
    got = email.message_from_bytes(raw, policy=email.policy.default)
    assert sorted(got.keys()) == sorted(
        [
            "From",
            "To",
            "Subject",
            "Date",
            "Message-ID",
            "Auto-Submitted",
            "X-Unibody-Key",
            "Content-Type",
            "Content-Transfer-Encoding",
            "MIME-Version",
        ]
    )
    assert got["To"] == "anna@example.com" and got["Bcc"] is None


def test_hostile_content_travels_as_text(postbox):
    hostile = DECISION | {
        "subject": HOSTILE,
        "action": HOSTILE,
        "reason": HOSTILE + "x" * 2_000_000 + "\r\n.\r\nMAIL FROM:<eve@example.com>\r\n",
    }
    done, got = letters(postbox, told("mail", hostile))
    assert done.state == "sent" and len(postbox.mails) == 1 and postbox.mails[0][1] == ["anna@example.com"]
    assert (
        got["Bcc"] is None
        and "\n" not in got["Subject"]
        and len(got["Subject"]) <= mail.SUBJECT_CHARACTERS_MAX
    )
    assert got.get_content_type() == "text/plain" and "MAIL FROM:<eve@example.com>" in got.get_content()


@pytest.mark.parametrize(
    "to",
    ["anna@example.com\r\nBcc: eve@example.com", "anna@example.com, eve@example.com", "Anna <anna@example.com>", "anna", "", "anna@example.com>", "a\0@example.com",
     "anna@example.com\n", "\u00e4nna@example.com"],
)  # fmt: skip
def test_an_address_that_is_not_one_plain_address_is_refused(postbox, to):
    with pytest.raises(SetupError, match="should be one address"):
        mail.check(to, {"smtp": postbox.url, "mail_from": "unibody@plant.example"})
    done, _ = letters(postbox, {"subject": "x"}, to)
    assert done.state == "again" and postbox.commands == []
    done, _ = letters(postbox, {"subject": "x"}, mail_from=to)
    assert done.state == "again" and postbox.commands == []


@pytest.mark.parametrize(
    ("command", "answer", "state"),
    [("RCPT", "550 no such user", "refused"), ("RCPT", "450 later", "again"), ("MAIL", "421 going down", "again"), ("END", "554 spam", "refused"),
     ("END", "451 try again", "again"), ("DATA", "554 no", "refused")],
)  # fmt: skip
def test_what_a_mail_servers_answer_means(postbox, command, answer, state):
    postbox.refuse[command] = answer
    done, _ = letters(postbox, {"subject": "x", "text": "y"})
    assert done.state == state and answer.split()[0] in done.error
    assert command == "END" or postbox.mails == [], "no mail goes on after a no"


def test_mail_off_this_machine_goes_encrypted_or_not_at_all(postbox):
    # 0.0.0.0 reaches the same server, and is not the name of this machine: it must offer STARTTLS, and does not
    done, _ = letters(postbox, {"subject": "x", "text": "y"}, smtp=f"smtp://0.0.0.0:{postbox.port}")
    assert done.state in ("again", "refused") and "STARTTLS" in done.error and postbox.mails == []
    done, _ = letters(postbox, {"subject": "x", "text": "y"}, smtp_user="anna")
    assert done.state == "again" and "UNIBODY_SECRET_SMTP" in done.error
    for wrong in (
        "",
        "mail.example.com",
        "http://mail.example.com",
        "smtp://anna:sesame@mail.example.com",
        "smtp://h:x",
    ):
        with pytest.raises(SetupError) as e:
            mail.check("anna@example.com", {"smtp": wrong, "mail_from": "unibody@plant.example"})
        assert "sesame" not in str(e.value)


# ---- drop folder


def test_a_dropped_file_is_named_by_its_key_and_there_whole(tmp_path):
    parcel = Parcel("k_1", str(tmp_path), told("drop_json"))
    first, second = drop.send(parcel), drop.send(parcel)
    assert (
        first
        == second
        == Outcome(
            "sent", {"file": str(tmp_path / "k_1.json"), "bytes": (tmp_path / "k_1.json").stat().st_size}
        )
    )
    assert [p.name for p in tmp_path.iterdir()] == ["k_1.json"] and json.loads(
        (tmp_path / "k_1.json").read_text()
    ) == told("drop_json")


def test_a_csv_runs_no_formula_and_holds_its_lines(tmp_path):
    texts = [
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        "\t=1",
        " =1",
        "\r\n=1",
        "＝1",
        "|calc",
        "%x",
        '"=1',
        "a\nb",
        "-2.5",
        "1e5",
        "plain",
        HOSTILE,
    ]
    body = [{"vin": t, "note": t} for t in texts]
    assert drop.send(Parcel("k", str(tmp_path), body, {"format": "csv"})).state == "sent"
    with (tmp_path / "k.csv").open(newline="") as f:
        head, *rows = csv.reader(f)
    assert (
        head == ["vin", "note"]
        and len(rows) == len(texts) == len((tmp_path / "k.csv").read_text().splitlines()) - 1
    )
    for cell, _ in rows:
        assert not cell.lstrip().startswith(drop.FORMULA) or float(cell), cell
        assert cell.isprintable()
    assert [r[0] for r in rows][-4:-1] == ["-2.5", "1e5", "plain"]


@given(text=st.text(max_size=60))
def test_no_cell_begins_like_a_formula(text):
    ((cell,),) = list(csv.reader(drop.table([{"a": text}]).splitlines()[1:]))
    assert not cell.lstrip().startswith(drop.FORMULA) or float(cell) is not None


def test_a_folder_that_is_gone_full_or_not_ours_is_tried_again(tmp_path):
    assert "FileNotFoundError" in drop.send(Parcel("k", str(tmp_path / "none"), {})).error
    (tmp_path / "file").write_text("")
    assert drop.send(Parcel("k", str(tmp_path / "file"), {})).state == "again"
    for wrong in ("relative/folder", "", "/srv/\0x"):
        with pytest.raises(SetupError, match="absolute path"):
            drop.check(wrong, {})
    with pytest.raises(SetupError, match="format = 'xls'"):
        drop.check(str(tmp_path), {"format": "xls"})
