"""What is said of a body that is no JSON, or does not say that it is: the fault, and the way out."""

from __future__ import annotations

import pytest
from api_support import API, Api, refusal

pytestmark = pytest.mark.anyio
JSON = "application/json"


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (b'{"q": "x"}', "text/plain", "send Content-Type: application/json"),
        (b'{"q": "x"}', "", "send Content-Type: application/json"),
        (b'{"q": "x"', JSON, "no JSON in UTF-8"),
        (b'{"q": "\xff"}', JSON, "no JSON in UTF-8"),
        (b"\x1f\x8b\x08\x00", JSON, "no JSON in UTF-8"),
        (b'{"limit": ' + b"9" * 5_000 + b"}", JSON, "a number too long"),
        (b"[" * 100_000, JSON, "nested too deep"),
    ],
)
async def test_the_fault_and_the_way_out_are_named(
    api: Api, body: bytes, content_type: str, said: str
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = await api.client.post(f"{API}/search", content=body, headers=headers)
    error = refusal(answer, 400, "VALIDATION_ERROR")
    assert error["details"] == [] or error["details"][0]["field"] == "body"
    assert error["error"].startswith("body: ")
    assert said in error["error"]


async def test_of_a_field_its_own_fault_is_told(api: Api) -> None:
    answer = await api.client.post(f"{API}/search", json={"q": "x", "limit": "many"})
    assert refusal(answer, 400, "VALIDATION_ERROR")["error"].startswith("limit: ")
