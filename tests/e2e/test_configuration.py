"""mitm.yaml under a running proxy, and a proxy that finds it broken."""

import os

from mitm import READY, ROUTER, VIRTUAL, Proxy, Tool, environment, question, tool_path, until


def edit(path, text):
    new = path.with_suffix(".new")
    new.write_text(text)
    os.utime(new, ns=(1, path.stat().st_mtime_ns + 1_000_000_000))
    new.replace(path)


def test_an_edit_is_in_effect_with_the_next_request(start):
    routing = start("under-pace")
    path = routing.proxy.folder / "mitm.yaml"
    good = path.read_text()
    with routing.client() as client:
        names = [it["id"] for it in client.get(f"{VIRTUAL}/v1/models").json()["data"]]
        assert names == ["claude-opus-4-5", "claude-sonnet-4-5"]
        edit(path, good.replace("claude-opus-4-5", "claude-opus-4-7"))
        names = [it["id"] for it in client.get(f"{VIRTUAL}/v1/models").json()["data"]]
        assert names == ["claude-opus-4-7", "claude-sonnet-4-5"]
        routing.proxy.wait_for(f"the new {path} is in effect")


def test_a_broken_edit_keeps_the_last_good_one_and_says_so_without_a_request(start):
    routing = start("under-pace")
    path = routing.proxy.folder / "mitm.yaml"
    edit(path, "modles: {}\n")
    routing.proxy.wait_for(
        f"{path}, line 1: `modles`: unknown key; allowed: allow_clients, providers, models, policy, "
        "failover, discover, catalog, notify, state; the nearest valid spelling is `models`. "
        "The last good configuration stays in use."
    )
    with routing.client() as client:
        headers = {"anthropic-version": "2023-06-01"}
        answer = client.post(f"{VIRTUAL}/v1/messages", json=question(), headers=headers)
    assert answer.status_code == 200


def refusal(tmp_path, tool: str, text: str) -> tuple[int, str]:
    path = tmp_path / "mitm.yaml"
    path.write_text(text)
    command = [tool_path(tool), "-s", ROUTER, "--set", f"limit_router_config={path}", "-p", "0"]
    command += ["--set", f"confdir={tmp_path / 'ca'}", "--listen-host", "127.0.0.1"]
    with Tool(command, environment(tmp_path / "home"), tmp_path) as process:
        until(lambda: process.process.poll() is not None, "the proxy to refuse to start")
        status = process.stop()
    return status, process.log


def test_there_is_no_start_with_a_broken_one(tmp_path):
    status, log = refusal(tmp_path, "mitmdump", "providers: {anthropc: {}}\n")
    assert status == 1
    assert (
        f"limit-router: {tmp_path}/mitm.yaml, line 1: `providers`: unknown provider; found "
        "'anthropc'; allowed: anthropic, chatgpt, github-copilot, google, openai, opencode, "
        "opencode-go, openrouter, zai; the nearest valid spelling is `anthropic`."
    ) in log
    assert "Traceback" not in log


def test_without_a_sign_in_the_start_says_where_it_looked(tmp_path, confdir):
    with Proxy(tmp_path, confdir, scripts=[ROUTER], ready=READY) as proxy:
        auth = proxy.folder / "home/.local/share/opencode/auth.json"
        assert (
            f"limit-router: no credential found. Looked for anthropic in ANTHROPIC_API_KEY, {auth}; "
            f"for github-copilot in GITHUB_COPILOT_TOKEN, {auth}. Set one of the variables, or sign "
            "in with `opencode auth login`."
        ) in proxy.log
        assert "11 models, usage of no account" in proxy.log


def test_a_broken_auth_json_is_named_and_never_written(tmp_path, confdir):
    auth = tmp_path / "home/.local/share/opencode/auth.json"
    auth.parent.mkdir(parents=True)
    auth.write_text('{"anthropic": {"type": "api", "key": "sk-not-to-be-shown"')
    nobody = "http://127.0.0.1:9"
    copilot = f"{{base_url: {nobody}, usage_url: {nobody}/usage}}"
    settings = tmp_path / "mitm.yaml"
    settings.write_text(f"providers: {{github-copilot: {copilot}}}\n")
    env = {"GITHUB_COPILOT_TOKEN": "gho_not-to-be-shown", "LIMIT_ROUTER_CONFIG": str(settings)}
    with Proxy(tmp_path, confdir, scripts=[ROUTER], ready=READY, env=env) as proxy:
        assert f"limit-router: {auth}: is not JSON (line 1, column 58)." in proxy.log
        assert "github-copilot (unknown)" in proxy.log
        assert "not-to-be-shown" not in proxy.log
    assert auth.read_text() == '{"anthropic": {"type": "api", "key": "sk-not-to-be-shown"'


def test_a_foreign_state_file_is_set_aside_and_reported(start, tmp_path):
    state = tmp_path / "routing" / "state"
    state.mkdir(parents=True)
    (state / "state.json").write_text('{"version": 1, "accounts"')
    routing = start("under-pace")
    routing.proxy.wait_for(
        f"{state}/state.json: is not a state file of this version; it is kept as state.json.bad-1."
    )
    assert (state / "state.json.bad-1").read_text() == '{"version": 1, "accounts"'
    until((state / "state.json").is_file, "a new state file")
