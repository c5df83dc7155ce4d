"""The API's page works in a browser that reaches this server alone."""

import re
from urllib.parse import urljoin, urlsplit


def test_the_page_loads_what_this_server_holds_and_nothing_else(ask):
    async def talk(client, _service):
        page = await client.get("/docs")
        places = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)""", page.text)
        return page, {place: await client.get(urljoin("/docs", place)) for place in places}

    page, loaded = ask(talk)
    assert page.status_code == 200
    assert not [word for word in re.findall(r"(?:https?:)?//[\w.-]+", page.text) if urlsplit(word).netloc]
    kinds = {place.rsplit(".", 1)[-1]: answer for place, answer in loaded.items()}
    assert kinds.keys() == {"js", "css", "png", "json"}
    assert {answer.status_code for answer in loaded.values()} == {200}
    assert "SwaggerUIBundle" in kinds["js"].text
    assert kinds["json"].json()["info"]["title"] == "PrefixFleet"
    assert '"validatorUrl": null' in page.text


def test_the_styles_load_nothing_from_elsewhere(ask):
    async def talk(client, _service):
        return (await client.get("/static-offline-docs/swagger-ui.css")).text

    places = re.findall(r"url\([\"']?([^)\"']{5})", ask(talk))
    assert places
    assert set(places) == {"data:"}
