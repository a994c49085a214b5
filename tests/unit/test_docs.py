"""The documents say what the code does: generated parts, numbers quoted, words, links, vectors.

The vectors are made again here by other means than the package's own: hashlib, PyNaCl, an
independent Noise, struct, and MessagePack of plain lists.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import subprocess
import sys
from enum import IntEnum
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct
from nacl.signing import SigningKey
from noise.connection import Keypair, NoiseConnection

import routing
from routing import bodies, messages
from routing.cli import main as run_command_line
from routing.errors import CloseCode, Refusal
from routing.limits import Limits
from routing.messages import FrameKind, HelloRole, MessageKind, SignedKind
from routing.state import Detail, LinkRole
from tools.docs_build import DOCUMENTS, VECTORS, outdated
from tools.docs_tables import BODIES, MESSAGE_BODIES, duration

__all__: list[str] = []

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROTOCOL = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PAGE_IDS = [str(page.relative_to(ROOT)) for page in PAGES]

HELD = json.loads((ROOT / VECTORS).read_text(encoding="utf-8"))
TAG = bytes.fromhex(HELD["network"]["tag"])


# -- what is generated, quoted and named


def test_generated_parts_and_vectors_are_current() -> None:
    stale = sorted(outdated())
    assert stale == [], f"not current: {stale}; run `.venv/bin/python -m tools.docs_build`"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_begin_has_its_end(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    marks = re.findall(r"<!-- (begin|end) ([\w -]+) -->", text)
    assert [mark for mark, _ in marks] == ["begin", "end"] * (len(marks) // 2)
    assert [block for mark, block in marks if mark == "begin"] == [
        block for mark, block in marks if mark == "end"
    ]


QUOTED = re.compile(r"(\d+(?:,\d{3})*(?: m?s\b)?)[A-Za-z\s]*?\s\(`(\w+)`\)")
"""A number, with its unit or some words, and in brackets the limit it is: 30 s (`silence_ns`)."""


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_limits_quoted_in_prose_have_the_value_quoted(page: Path) -> None:
    limits = Limits.recommended()
    for quoted, name in QUOTED.findall(page.read_text(encoding="utf-8")):
        if name not in Limits.__dataclass_fields__:
            continue
        value = getattr(limits, name)
        said = duration(value) if name.endswith("_ns") else f"{value:,}"
        assert quoted == said, f"{name} is {said}, the page says {quoted}"


def test_limits_are_quoted_at_all() -> None:
    assert len(QUOTED.findall(PROTOCOL)) > 30


@pytest.mark.parametrize("kind", FrameKind)
def test_every_frame_kind_has_a_section(kind: FrameKind) -> None:
    heads = " ".join(re.findall(r"^### (.*)$", PROTOCOL, re.MULTILINE))
    assert re.search(rf"\b{kind.name}\b", heads)


@pytest.mark.parametrize("kind", MessageKind)
def test_every_message_kind_is_described(kind: MessageKind) -> None:
    assert f"**{kind.name}**" in PROTOCOL


@pytest.mark.parametrize("role", LinkRole)
def test_every_role_of_a_connection_is_described(role: LinkRole) -> None:
    rows = re.findall(r"^\| ([A-Z, ]+) \| [a-z].*\|$", PROTOCOL, re.MULTILINE)
    assert role.name in [name for row in rows for name in row.split(", ")]


@pytest.mark.parametrize("member", [*CloseCode, *Refusal, *SignedKind])
def test_every_code_has_its_number_and_a_meaning(member: IntEnum) -> None:
    assert re.search(rf"^\| {member.value} \| `{member.name}` \| \w.*\|$", PROTOCOL, re.MULTILINE)


def test_every_wire_record_is_laid_out() -> None:
    records = [
        name
        for module in (messages, bodies)
        for name in module.__all__
        if isinstance(each := getattr(module, name), type) and issubclass(each, Struct)
    ]
    forms = re.findall(r"\*\*(\w+Address)\.\*\*", PROTOCOL)
    laid_out = {*re.findall(r"<!-- begin record (\w+) -->", PROTOCOL), *forms}
    assert laid_out == set(records)


def test_every_body_of_a_frame_or_message_is_known() -> None:
    assert set(BODIES) == set(FrameKind)
    assert set(MESSAGE_BODIES) == set(MessageKind)


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {_anchor(head) for head in heads}, target


def _anchor(head: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", head.lower())
    return kept.replace(" ", "-")


def test_architecture_names_every_module() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    modules = {
        path.stem
        for suffix in ("py", "pyx")
        for folder in ("routing", "routing/service", "routing/simulation")
        for path in (ROOT / folder).glob(f"*.{suffix}")
        if not path.stem.startswith("__")
    }
    missing = sorted(name for name in modules if f"`{name}`" not in page)
    assert missing == [], f"not in docs/architecture.md: {missing}; a line each will do"


# -- what the README shows


def test_program_of_the_readme_runs() -> None:
    program, _ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=45,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    name, reply, *members, churn = run.stdout.splitlines()
    assert re.fullmatch(r"[0-9a-f]{8} CONNECTED \['127\.0\.0\.1:\d+'\]", name)
    assert reply == str(b"pong to ping")
    assert [line[9:] for line in members] == [str(b"pong to who keeps it?")] * 2
    assert name[:8] in [line[:8] for line in members] and members[0][:8] != members[1][:8]
    assert churn.startswith("close group of 1 because ")


def test_map_of_the_readme_forgets_and_hands_back(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(lines.splitlines()) == 5
    # The same lines on a clock that has reached 30 s when they come to the end.
    moments = iter([0.0, 1.0, 1.0, 30.0])
    turned = lines.replace("capacity=10_000", "capacity=10_000, clock=clock")
    exec(turned, {"routing": routing, "clock": lambda: next(moments)})
    assert capsys.readouterr().out == "one has gone with 1\n"


def test_map_of_the_page_on_tables_runs() -> None:
    page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(lines, names)
    assert names["seen"].keys() == ["one"]


def shown_commands() -> list[str]:
    """Return the command lines that the documents show, without what stands behind a #."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    lines = [line for text in texts for line in re.findall(r"python -m routing ([^#`\n]+)", text)]
    return sorted({line.strip() for line in lines})


@pytest.mark.parametrize("line", shown_commands())
def test_options_shown_are_options_of_the_command(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = line.split()
    command = [word for word in words[: 2 if words[0] == "simulate" else 1] if word[0] != "-"]
    assert run_command_line([*command, "--help"]) == 0
    offered = capsys.readouterr().out
    for option in (word for word in words if word.startswith("--")):
        assert re.search(rf"^\s+{option}\b", offered, re.MULTILINE), option


def test_calls_shown_in_the_readme_exist() -> None:
    program, _ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    prose = README.replace(program, "")
    for name in re.findall(r"`(?:await |async for event in )?(?:node\.)?(\w+)\(", prose):
        assert hasattr(routing.Node, name) or hasattr(routing, name), name


# -- the vectors, by other means


def plain(value: Any) -> Any:
    """Turn the plain form of the file into lists, bytes, numbers and text."""
    if isinstance(value, dict):
        return bytes.fromhex(value["bin"])
    return [plain(each) for each in value] if isinstance(value, list) else value


def packed(value: Any) -> str:
    return msgspec.msgpack.encode(plain(value)).hex()


def signer(who: str) -> SigningKey:
    return SigningKey(bytes.fromhex(HELD["identities"][who]["seed"]))


def key(who: str) -> bytes:
    return bytes.fromhex(HELD["identities"][who]["key"])


def signed_text(kind: SignedKind, body: bytes) -> bytes:
    return b"routing:1:" + bytes([kind]) + TAG + body


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def test_vector_of_the_network_tag() -> None:
    assert sha(b"routing:network:1", HELD["network"]["id"].encode())[:8] == TAG


@pytest.mark.parametrize("who", "abc")
def test_vector_of_keys_and_client_names(who: str) -> None:
    assert signer(who).verify_key.encode() == key(who)
    assert sha(key(who)).hex() == HELD["identities"][who]["client_name"]


def test_vector_of_names() -> None:
    names = {name: each for name, each in HELD["names"].items() if isinstance(each, str)}
    client = {who: bytes.fromhex(HELD["identities"][who]["client_name"]) for who in "abc"}
    founder = sha(b"routing:name:1", client["b"], client["b"], client["b"])
    assert founder.hex() == names["founder_b"]
    n1, n2 = bytes.fromhex(names["n1"]), bytes.fromhex(names["n2"])
    assert sha(b"routing:name:1", client["a"], n1, n2).hex() == names["network_name_a"]


def test_vector_of_a_flipped_bit() -> None:
    held = HELD["names"]["flip_bit"]
    name, low = bytes.fromhex(held["name"]), bytes.fromhex(held["low"])
    bits = "".join(f"{byte:08b}" for byte in name)
    tail = "".join(f"{byte:08b}" for byte in low)
    index = held["index"]
    flipped = bits[:index] + ("0" if bits[index] == "1" else "1") + tail[index + 1 :]
    assert f"{int(flipped, 2):064x}" == held["result"]


def test_vector_of_a_list_digest() -> None:
    held = HELD["names"]["list_digest"]
    joined = b"".join(bytes.fromhex(name) for name in held["names"])
    assert hashlib.blake2b(joined, digest_size=8).hexdigest() == held["digest"]


@pytest.mark.parametrize("form", ["node", "client", "group", "via"])
def test_vector_of_an_address(form: str) -> None:
    assert packed(HELD["addresses"][form]["plain"]) == HELD["addresses"][form]["encoded"]


def test_vector_of_a_certificate_and_its_votes() -> None:
    held = HELD["certificate"]
    assert packed(held["plain"]) == held["encoded"]
    assert packed(held["founder_b"]["plain"]) == held["founder_b"]["encoded"]
    n1, n2, votes = plain(held["plain"])
    assert len(votes) == len(held["votes"]) == 2
    for (voter, size, signature), vote in zip(votes, held["votes"], strict=True):
        assert voter == key(vote["voter"])
        text = signed_text(SignedKind.VOTE, key(held["of"]) + n1 + n2 + bytes([size]))
        assert text.hex() == vote["signed_text"]
        assert signer(vote["voter"]).sign(text).signature == signature


def noise_end(side: str, prologue: bytes) -> Any:
    held = HELD["handshake"]
    end = NoiseConnection.from_name(b"Noise_XX_25519_AESGCM_SHA256")
    end.set_as_initiator() if side == "dialler" else end.set_as_responder()
    end.set_prologue(prologue)
    static, ephemeral = (bytes.fromhex(held[f"{side}_{each}"]) for each in ("static", "ephemeral"))
    end.set_keypair_from_private_bytes(Keypair.STATIC, static)
    end.set_keypair_from_private_bytes(Keypair.EPHEMERAL, ephemeral)
    with pytest.warns(UserWarning, match="OK for testing"):
        end.start_handshake()
    return end


def identity(side: str) -> bytes:
    """The payload of a handshake message: key, and signature over the static public key."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    held = HELD["handshake"]
    who = held[side]
    private = X25519PrivateKey.from_private_bytes(bytes.fromhex(held[f"{side}_static"]))
    text = signed_text(SignedKind.CHANNEL, private.public_key().public_bytes_raw())
    return key(who) + signer(who).sign(text).signature


def shaken() -> tuple[Any, Any]:
    """Run the handshake of the file on the independent Noise and return both ends."""
    held = HELD["handshake"]
    opening = b"RTNG" + struct.pack(">HH", 1, 1) + TAG
    assert held["dialler_preamble"] == held["acceptor_preamble"] == opening.hex()
    assert held["prologue"] == (opening + opening).hex()
    dialler, acceptor = (noise_end(side, opening + opening) for side in ("dialler", "acceptor"))
    for number, (writer, reader, payload) in enumerate(
        (
            (dialler, acceptor, b""),
            (acceptor, dialler, identity("acceptor")),
            (dialler, acceptor, identity("dialler")),
        ),
        start=1,
    ):
        message = bytes(writer.write_message(payload))
        assert (struct.pack(">H", len(message)) + message).hex() == held[f"message_{number}"]
        assert bytes(reader.read_message(message)) == payload
    return dialler, acceptor


def test_vector_of_the_handshake() -> None:
    dialler, acceptor = shaken()
    assert dialler.get_handshake_hash() == acceptor.get_handshake_hash()
    assert dialler.get_handshake_hash().hex() == HELD["handshake"]["handshake_hash"]


def test_vector_of_sealed_records() -> None:
    dialler, acceptor = shaken()
    sealed = {"dialler": 0, "acceptor": 0}
    for held in HELD["records"]:
        assert held["nonce"] == sealed[held["sender"]]
        sealed[held["sender"]] += 1
        end = dialler if held["sender"] == "dialler" else acceptor
        record = bytes(end.encrypt(bytes.fromhex(held["plaintext"])))
        assert held["length"] == len(record) == len(bytes.fromhex(held["plaintext"])) + 16
        assert (struct.pack(">I", len(record)) + record).hex() == held["record"]
    assert sealed == {"dialler": 2, "acceptor": 1}


def test_vector_of_what_a_hello_signs() -> None:
    held = HELD["hello"]
    hello = plain(next(each for each in HELD["frames"] if each["kind"] == "HELLO")["plain"])
    role, attempt, incarnation, _, _, response, signature = hello
    dialler, acceptor = (key(HELD["handshake"][side]) for side in ("dialler", "acceptor"))
    binding = bytes.fromhex(HELD["handshake"]["handshake_hash"])
    body = bytes([role]) + attempt + dialler + acceptor + incarnation + binding
    assert role == HelloRole.PRIMARY and len(body) == 121
    assert body.hex() == held["body"]
    assert signed_text(SignedKind.HELLO, body).hex() == held["signed_text"]
    assert signer("b").sign(signed_text(SignedKind.HELLO, body)).signature == signature
    assert signature.hex() == held["signature"]
    rides = next(each for each in HELD["messages"] if each["kind"] == "CONNECT_RESPONSE")
    assert response.hex() == rides["envelope"]


@pytest.mark.parametrize("held", HELD["frames"], ids=lambda held: str(held["kind"]))
def test_vector_of_a_frame(held: dict[str, Any]) -> None:
    assert FrameKind[held["kind"]] == held["number"]
    record = BODIES[FrameKind(held["number"])]
    assert (record is None) is (held["plain"] is None)
    if record is bytes:
        body = bytes(plain(held["plain"]))
    else:
        body = b"" if held["plain"] is None else bytes.fromhex(packed(held["plain"]))
    assert (struct.pack(">IB", len(body), held["number"]) + body).hex() == held["frame"]
    if record is not None and issubclass(record, msgspec.Struct):
        decoded = messages.decode(record, body)
        assert decoded is not None and messages.encode(decoded) == body


def test_vector_of_a_batch_is_read_as_the_document_says() -> None:
    (held,) = [each for each in HELD["frames"] if each["kind"] == "BATCH"]
    body = bytes(plain(held["plain"]))
    assert body[:16] == b"\x66" * 12 + bytes(4)
    assert listed(body[16:]) == [b"one", b"", b"three"]


def test_vector_of_a_list_is_read_as_the_document_says() -> None:
    (held,) = [each for each in HELD["messages"] if each["kind"] == "MESSAGES"]
    assert plain(held["signed_plain"])[4] == b"\x66" * 12 + bytes(4)
    assert listed(bytes.fromhex(held["body"])) == [b"one", b"", b"three"]


def listed(rest: bytes) -> list[bytes]:
    payloads = []
    while rest:
        (length,) = struct.unpack_from(">I", rest)
        payloads.append(rest[4 : 4 + length])
        rest = rest[4 + length :]
    return payloads


@pytest.mark.parametrize("held", HELD["messages"], ids=lambda held: str(held["kind"]))
def test_vector_of_a_routed_message(held: dict[str, Any]) -> None:
    kind = MessageKind[held["kind"]]
    assert kind == held["number"]
    if held["body_plain"] is not None:
        assert packed(held["body_plain"]) == held["body"]
    signed = plain(held["signed_plain"])
    assert signed[1] == kind and signed[6] == key(held["from"]) and signed[9].hex() == held["body"]
    assert msgspec.msgpack.encode(signed).hex() == held["signed"]
    text = signed_text(SignedKind.ROUTED, bytes.fromhex(held["signed"]))
    signature = signer(held["from"]).sign(text).signature
    assert signature.hex() == held["signature"]
    envelope = msgspec.msgpack.encode([0, 0, bytes.fromhex(held["signed"]), signature])
    assert envelope.hex() == held["envelope"]
    record = MESSAGE_BODIES[kind]
    if record is not None and issubclass(record, msgspec.Struct):
        assert messages.decode(record, bytes.fromhex(held["body"])) is not None


def test_vector_of_a_source_name_follows_from_its_key() -> None:
    for held in HELD["messages"]:
        signed = plain(held["signed_plain"])
        source, origin = signed[5], signed[7]
        if source[0] == 1:
            assert sha(b"routing:name:1", sha(signed[6]), origin) == source[1]
        else:
            assert source[0] == 2 and source[2] == signed[6] and origin == b""


def test_vector_of_a_response_quotes_its_request() -> None:
    of_kind = {held["kind"]: held for held in HELD["messages"]}
    request = bytes.fromhex(of_kind["CONNECT_REQUEST"]["signed"])
    assert plain(of_kind["CONNECT_RESPONSE"]["body_plain"])[1] == sha(request)


def test_vectors_cover_every_kind() -> None:
    assert {held["kind"] for held in HELD["frames"]} == {kind.name for kind in FrameKind}
    assert {held["kind"] for held in HELD["messages"]} == {kind.name for kind in MessageKind}


def test_states_page_names_every_detail() -> None:
    page = (ROOT / "docs/states.md").read_text(encoding="utf-8")
    assert all(f"| {detail.name} |" in page for detail in Detail)
