"""Messages by Apprise to real receivers: a mail server, a chat's webhook, a program that takes JSON."""

import json
import logging
import threading

import pytest
from processes import find_free_port
from receivers import MailServer, Receiver
from waiting import wait_until

from components.errors import ConfigError
from components.notify.channels import open_channel, send_message

TITLE, BODY = "[Acme] run 41: 1 failed", "Needs a person:\n- cedar: failed: <script>alert(1)</script> & café"
TOKEN = "tokenoftheroom12345"


def test_a_mail_arrives_with_subject_and_text():
    server = MailServer()
    with server.run() as port:
        urls = f"mailto://127.0.0.1:{port}?from=fleet@acme.test&to=ops@acme.test,ada@acme.test"
        assert send_message(urls, "ops", TITLE, BODY) == ""
    assert sorted(server.recipients) == ["ada@acme.test", "ops@acme.test"]
    mail = server.mails[0]
    assert mail["Subject"] == TITLE
    part = mail.get_body(("plain", "html"))
    text = part.get_content()
    assert "café" in text
    assert part.get_content_type() == "text/plain" or "<script>" not in text


def test_a_chat_gets_one_text():
    receiver = Receiver()
    with receiver.run():
        assert send_message(f"mmost://127.0.0.1:{receiver.port}/{TOKEN}", "ops", TITLE, BODY) == ""
    assert receiver.paths == [f"/hooks/{TOKEN}"]
    text = json.loads(receiver.received[0][0])["text"]
    assert "cedar: failed" in text
    assert "café" in text


def test_a_program_gets_json_and_several_services_of_one_channel_all_get_it():
    receiver = Receiver()
    with receiver.run():
        urls = f"json://127.0.0.1:{receiver.port}/a\n json://127.0.0.1:{receiver.port}/b"
        assert send_message(urls, "ops", TITLE, BODY) == ""
    assert sorted(receiver.paths) == ["/a", "/b"]
    got = json.loads(receiver.received[0][0])
    assert (got["title"], got["message"]) == (TITLE, BODY)


def test_what_fails_is_said_without_the_address_and_goes_to_no_log(caplog):
    receiver = Receiver()
    receiver.status = 403
    with caplog.at_level(logging.DEBUG), receiver.run():
        refused = send_message(f"mmost://127.0.0.1:{receiver.port}/{TOKEN}", "ops", TITLE, BODY)
    silent = send_message(f"json://ada:{TOKEN}@127.0.0.1:{receiver.port}/x{TOKEN}", "ops", TITLE, BODY)
    assert "403" in refused
    assert silent
    for text in (refused, silent, caplog.text):
        assert TOKEN not in text
        assert "127.0.0.1" not in text


def test_two_threads_that_send_at_once_see_and_log_nothing_of_the_other_channel(caplog):
    slow, held = Receiver(), threading.Event()
    slow.status, slow.may_answer = 403, held
    problems = {}

    def send(name, urls):
        problems[name] = send_message(urls, name, TITLE, BODY)

    with caplog.at_level(logging.DEBUG), slow.run():
        first = threading.Thread(target=send, args=("first", f"json://127.0.0.1:{slow.port}/first"))
        first.start()
        wait_until(lambda: slow.received, "the first message")
        second = threading.Thread(target=send, args=("second", f"json://127.0.0.1:{find_free_port()}/x{TOKEN}"))
        second.start()
        second.join(0.5)
        held.set()
        for one in (first, second):
            one.join()
    assert "403" in problems["first"]
    assert problems["second"]
    assert TOKEN not in problems["first"] + caplog.text


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        (f"nonsense://{TOKEN}", "got another text, which begins with 'nonsense'; it is not shown"),
        (TOKEN, "got another text; it is not shown"),
        (f"json://127.0.0.1 slack://{TOKEN}", "got number 2 of 2, which begins with 'slack'"),
    ],
)
def test_a_text_that_is_no_address_is_refused_and_not_shown(urls, words):
    with pytest.raises(ConfigError) as refused:
        open_channel(urls, "url of the channel ops (env:OPS)")
    assert words in str(refused.value)
    assert "url of the channel ops (env:OPS)" in str(refused.value)
    assert TOKEN not in str(refused.value)
