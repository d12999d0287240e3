"""Makes docs/mitmweb.png: the real mitmweb with routed flows, in Debian's Chromium.

apt-get install chromium fonts-noto-color-emoji && uv run --group docs python docs/screenshot.py
"""

import os
import re
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import yaml
from playwright.sync_api import sync_playwright

from core.setup import addon_script
from core.simulator import Simulator

ROOT = Path(__file__).resolve().parent
PASSWORD = "screenshot"  # noqa: S105 - of a mitmweb that lives for seconds
CHROMIUM = "/usr/bin/chromium"


def command(folder: Path, config: Path) -> list[str]:
    options = {
        "limit_router_config": config,
        "confdir": folder / "ca",
        "web_password": PASSWORD,
        "web_open_browser": "false",
    }
    settings = [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
    mitmweb = Path(sys.executable).with_name("mitmweb")
    listen = ["--listen-host", "127.0.0.1", "-p", "0", "--web-port", "8379"]
    return [str(mitmweb), "-s", str(addon_script()), *settings, *listen]


def ask(client: httpx.Client, model: str, text: str, **more: object) -> None:
    body = {
        "model": f"limit-router/{model}",
        "max_tokens": 2000,
        "stream": True,
        "messages": [{"role": "user", "content": text}],
        **more,
    }
    headers = {"anthropic-version": "2023-06-01", "user-agent": "opencode/1.18.33"}
    client.post("https://limit-router.invalid/v1/messages", json=body, headers=headers)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, Simulator("over-pace") as sim:
        folder = Path(name)
        config = folder / "mitm.yaml"
        config.write_text(yaml.safe_dump({**sim.config(), "state": str(folder / "state")}))
        variables = {**os.environ, "OPENCODE_AUTH_CONTENT": sim.auth_content(), "HOME": name}
        process = subprocess.Popen(
            command(folder, config),
            env={**variables, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            port = 0
            for line in process.stdout:
                if found := re.search(r"proxy listening at \S*:(\d+)", line):
                    port = int(found[1])
                if "limit-router is ready" in line:
                    break
            trust = ssl.create_default_context(cafile=folder / "ca" / "mitmproxy-ca-cert.pem")
            with httpx.Client(
                proxy=f"http://127.0.0.1:{port}", verify=trust, trust_env=False
            ) as client:
                ask(client, "claude-sonnet-4-5", "Which tests fail?")
                ask(client, "claude-opus-4-5", "Plan the refactoring.")
                spent = next(m for m in sim.world._meters["github-copilot"].values())  # noqa: SLF001
                spent.used_percent = 99.9
                ask(client, "claude-sonnet-4-5", "And now?")
                ask(client, "claude-sonnet-4-5", "Where does this one go?")
                ask(client, "claude-sonet-4-5", "A misspelt model.")
            shoot(ROOT / "mitmweb.png")
        finally:
            process.terminate()
            process.wait()


def shoot(path: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 420})
        page.goto(f"http://127.0.0.1:8379/?token={PASSWORD}")
        page.get_by_text("v1/messages").first.wait_for()
        page.locator("tr", has_text="v1/messages").nth(3).click()
        page.get_by_text("Comment", exact=True).first.click()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=path)
        browser.close()


if __name__ == "__main__":
    main()
