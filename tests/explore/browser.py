"""Chromium without a window, driven over a pipe by the DevTools protocol."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time

BROWSER = next(
  filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None
)
FLAGS = (
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--hide-scrollbars",
  "--remote-debugging-pipe",
)

# Chromium reads its file 3, and writes its file 4.
SHIM = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(x), fcntl.F_DUPFD, 10) for x in sys.argv[1:3]]
for end, number in zip(ends, (3, 4)):
  os.dup2(end, number)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class Browser:
  """One page; `console` is what it complained of."""

  def __init__(self, seconds=60):
    self.seconds = seconds
    self.profile = tempfile.mkdtemp(prefix="chromium-")
    reads, self.write = os.pipe()
    self.read, writes = os.pipe()
    command = [BROWSER, *FLAGS, f"--user-data-dir={self.profile}"]
    self.process = subprocess.Popen(
      [sys.executable, "-c", SHIM, str(reads), str(writes), *command],
      pass_fds=(reads, writes),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    os.close(reads)
    os.close(writes)
    self.rest, self.number, self.session = b"", 0, None
    self.console = []
    target = self.ask("Target.createTarget", url="about:blank")["targetId"]
    self.session = self.ask(
      "Target.attachToTarget", targetId=target, flatten=True
    )["sessionId"]
    for domain in ("Page", "Runtime", "Log"):
      self.ask(f"{domain}.enable")

  def ask(self, method, **parameters):
    self.number += 1
    message = {"id": self.number, "method": method, "params": parameters}
    if self.session:
      message["sessionId"] = self.session
    os.write(self.write, json.dumps(message).encode() + b"\0")
    end = time.monotonic() + self.seconds
    while True:
      answer = self.next(end)
      if answer.get("id") == self.number:
        assert "error" not in answer, answer
        return answer["result"]
      self.hear(answer)

  def next(self, end):
    while b"\0" not in self.rest:
      left = end - time.monotonic()
      ready, _, _ = select.select([self.read], [], [], max(left, 0))
      if not ready:
        raise TimeoutError("Chromium doesn't answer")
      part = os.read(self.read, 1 << 20)
      assert part, "Chromium has ended"
      self.rest += part
    line, _, self.rest = self.rest.partition(b"\0")
    return json.loads(line)

  def hear(self, event):
    what, said = event.get("method"), event.get("params", {})
    if what == "Runtime.exceptionThrown":
      self.console.append(str(said["exceptionDetails"]))
    elif what == "Log.entryAdded" and said["entry"]["level"] != "info":
      self.console.append(str(said["entry"]))
    elif what == "Runtime.consoleAPICalled" and said["type"] != "log":
      self.console.append(str(said))

  def run(self, script):
    """What an expression of the page gives; a promise is waited for."""
    found = self.ask(
      "Runtime.evaluate",
      expression=script,
      returnByValue=True,
      awaitPromise=True,
    )
    assert "exceptionDetails" not in found, found
    return found["result"].get("value")

  def until(self, script):
    """Waits until an expression is true."""
    end = time.monotonic() + self.seconds
    while not self.run(f"!!({script})"):
      assert time.monotonic() < end, f"never: {script}\n{self.console}"
      time.sleep(0.02)

  def open(self, url):
    self.console.clear()
    self.ask("Page.navigate", url=url)
    self.until("document.readyState === 'complete'")

  def size(self, width, height, *, mobile=False):
    self.ask(
      "Emulation.setDeviceMetricsOverride",
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=mobile,
    )

  def dark(self, on):
    value = "dark" if on else "light"
    self.ask(
      "Emulation.setEmulatedMedia",
      features=[{"name": "prefers-color-scheme", "value": value}],
    )

  def box(self, what):
    """Left, top, width and height of an element in view, once it lies still."""
    return self.run(
      f"""(async () => {{ const e = document.querySelector({json.dumps(what)});
      e.scrollIntoView({{block: "center", behavior: "instant"}});
      for (let last = "";;) {{
        await new Promise((done) => setTimeout(done, 30));
        const b = e.getBoundingClientRect();
        const found = [b.left, b.top, b.width, b.height];
        if (String(found) === last) return found;
        last = String(found); }} }})()"""
    )

  def click(self, what, x=0.5, y=0.5):
    """A real click into an element, at shares of its box."""
    left, top, width, height = self.box(what)
    for kind in ("mousePressed", "mouseReleased"):
      self.ask(
        "Input.dispatchMouseEvent",
        type=kind,
        x=left + x * width,
        y=top + y * height,
        button="left",
        clickCount=1,
      )

  def drop(self, what, *paths):
    """Drops files onto an element, as from a file manager."""
    left, top, width, height = self.box(what)
    data = {
      "items": [],
      "files": [str(path) for path in paths],
      "dragOperationsMask": 1,
    }
    for kind in ("dragEnter", "dragOver", "drop"):
      self.ask(
        "Input.dispatchDragEvent",
        type=kind,
        x=left + width / 2,
        y=top + height / 2,
        data=data,
      )

  def picture(self, path, *, whole=False):
    found = self.ask(
      "Page.captureScreenshot", format="png", captureBeyondViewport=whole
    )
    path.write_bytes(base64.b64decode(found["data"]))

  def close(self):
    self.session = None
    try:
      self.ask("Browser.close")
      self.process.wait(20)
    finally:
      self.process.kill()
      self.process.wait()
      os.close(self.write)
      os.close(self.read)
      shutil.rmtree(self.profile, ignore_errors=True)
