"""A JupyterLab of its own, and a browser that looks at it: for the test of the live editor, and for its measures."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 2**28  # bytes that a browser may send at once, as `make lab` has it


def chromium() -> str | None:
    """Where Chromium is; a Chrome will do."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def jupyterlab(folder: Path, notebook: NotebookNode) -> Iterator[str]:
    """Address of a notebook, of which a copy is put into ``folder``, in a JupyterLab that is shut down in the end."""
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "editor.ipynb")
    for path, settings in {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "apputils-extension/themes": {"theme": "JupyterLab Light"},
        "notebook-extension/tracker": {"windowingMode": "none"},  # what is out of sight stays on the page
    }.items():
        place = folder / f"settings/@jupyterlab/{path}.jupyterlab-settings"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(settings), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "spaces"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }
    options = [
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--ip=127.0.0.1",
        "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True",
        f"--ServerApp.root_dir={folder}",
        "--expose-app-in-browser",
        f"--ServerApp.tornado_settings={{'websocket_max_message_size': {LIMIT}}}",
    ]
    with open(folder / "jupyterlab.log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            with suppress(OSError):
                urllib.request.urlopen(f"{address}/api/status", timeout=5).close()
                break
            if server.poll() is not None:
                raise RuntimeError((folder / "jupyterlab.log").read_text(encoding="utf-8"))
            time.sleep(0.2)
        yield f"{address}/lab/tree/editor.ipynb"
    finally:
        server.send_signal(signal.SIGTERM)  # it ends its kernels first
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def serious_faults(page, within: str = "html") -> list[str]:
    """What axe-core finds to keep people from using a part of a page."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, within, {"preload": False}).response["violations"]
    return [
        f"{fault['id']}: {node['html'][:200]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


@contextmanager
def browser(width: int = 1400, height: int = 1000) -> Iterator:
    """A page of a Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = chrome.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(90_000)
        yield page
        chrome.close()


def open_editor(page, address: str):
    """Open a notebook, run it all, and wait for the editor; returns its place on the page."""
    page.goto(address)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.wait_for_function("""() => {
        const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
        return kernel?.connectionStatus === "connected" && kernel.status === "idle"; }""")
    page.evaluate("void jupyterapp.commands.execute('application:toggle-left-area')")
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    editor = page.locator(".deltaedit").first
    editor.locator("img.deltaedit-after").wait_for()
    page.wait_for_function("document.querySelector('.deltaedit img.deltaedit-after').naturalWidth > 0")
    return editor
