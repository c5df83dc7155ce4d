"""The API's pages work without another server, and every error has OpenAI's shape."""

import re
from urllib.parse import urljoin, urlsplit


def test_the_page_loads_only_files_of_this_server(ask):
    async def talk(client, _service):
        page = await client.get("/docs")
        urls = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)""", page.text)
        return page, {url: await client.get(urljoin("/docs", url)) for url in urls}

    page, loaded = ask(talk)
    assert page.status_code == 200
    assert not [word for word in re.findall(r"(?:https?:)?//[\w.-]+", page.text) if urlsplit(word).netloc]
    by_type = {url.rsplit(".", 1)[-1]: answer for url, answer in loaded.items()}
    assert by_type.keys() == {"js", "css", "png", "json"}
    assert {answer.status_code for answer in loaded.values()} == {200}
    assert "SwaggerUIBundle" in by_type["js"].text
    assert by_type["json"].json()["info"]["title"] == "PrefixFleet"
    assert '"validatorUrl": null' in page.text


def test_the_style_sheet_loads_nothing_from_another_server(ask):
    async def talk(client, _service):
        return (await client.get("/static-offline-docs/swagger-ui.css")).text

    urls = re.findall(r"url\([\"']?([^)\"']{5})", ask(talk))
    assert urls
    assert set(urls) == {"data:"}


def test_a_method_that_a_path_does_not_support_is_refused_with_the_supported_ones(ask):
    async def talk(client, _service):
        requests = [("PUT", "/v1/completions"), ("BREW", "/v1/models"), ("POST", "/healthz"), ("GET", "/v1/nothing")]
        return [await client.request(*one) for one in requests]

    answers = ask(talk)
    assert [answer.status_code for answer in answers] == [405, 405, 405, 404]
    assert [answer.headers.get("allow") for answer in answers] == ["POST", "GET, HEAD", "GET, HEAD", None]
    assert "use POST" in answers[0].json()["error"]["message"]
    assert all("x-request-id" in answer.headers for answer in answers)


def test_an_unexpected_error_is_500_without_its_details(ask, monkeypatch, caplog):
    async def talk(client, service):
        def fail(*_arguments, **_options):
            raise RuntimeError("a secret of the server")

        monkeypatch.setattr(service.quotas, "admit", fail)
        return await client.post("/v1/completions", json={"model": "alder", "prompt": "x"})

    answer = ask(talk)
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    assert "secret" not in answer.text
    assert "a secret of the server" in caplog.text
