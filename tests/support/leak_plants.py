"""Plants a text in every place where secret values are looked for, to see that the search looks there."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.support.recorded_stack import RecordedStack
from tests.support.waiting import until

# Made like a token of Vault, and none: so begins every planted one, and no other by chance.
TOKEN_MARK = "hvs.planted"


class Plant:
    """One text for a whole search. Names and texts hold it; it is new in each search."""

    def __init__(self) -> None:
        self.name = f"planted-{secrets.token_hex(16)}"
        self.token = TOKEN_MARK + secrets.token_hex(16)
        self.text = f"{self.name} {self.token}"

    @classmethod
    @contextlib.contextmanager
    def everywhere(cls, stack: RecordedStack, folder: Path) -> Iterator[Plant]:
        """A text of its own in every place that each phase has; `folder` is for Git. What can go goes afterwards."""
        made = cls()
        made.in_cluster(stack)
        made.in_git(stack, folder)
        made.in_state(stack)
        yield made
        made.take_away(stack)

    def in_cluster(self, stack: RecordedStack) -> None:
        """A ConfigMap (also in etcd), requests (audit log), and a pod that has the text and says it.

        Its containers say it before a restart and after it, and write it into a volume and to their own disk.
        """
        objects, configs = stack.objects, "/api/v1/namespaces/default/configmaps"
        objects.request("POST", configs, {"metadata": {"name": self.name}, "data": {"value": self.text}})
        again = "mark = pathlib.Path('/mark/said'); again = mark.exists()"
        write = f"text = '{self.text}'; mark.write_text(text); pathlib.Path('/said').write_text(text)"
        say = f"import pathlib, sys, time; {again}; {write}; print(text, flush=True); time.sleep(3600 if again else 0)"
        container = {
            "image": stack.engine_image,
            "securityContext": {"runAsUser": 0},
            "volumeMounts": [{"name": "mark", "mountPath": "/mark"}],
        }
        first = {**container, "name": "first", "command": ["python3", "-c", f"print('{self.text}')"]}
        then = {**container, "name": "say", "command": ["python3", "-c", say]}
        spec = {
            "initContainers": [first],
            "containers": [then],
            "volumes": [{"name": "mark", "emptyDir": {}}],
            "terminationGracePeriodSeconds": 0,
        }
        pods = "/api/v1/namespaces/default/pods"
        objects.request("POST", pods, {"metadata": {"name": self.name}, "spec": spec})
        log = f"{pods}/{self.name}/log?container=say"
        for path in (log, f"{log}&previous=true"):
            until(lambda path=path: self.text.encode() in objects.text(path), "the pod has spoken")

    def in_git(self, stack: RecordedStack, folder: Path) -> None:
        """A commit with the text that a later commit takes away: history is searched too."""
        shutil.copytree(stack.fleet, folder / "fleet")
        (folder / "fleet/note.txt").write_text(self.text)
        stack.publish(folder / "fleet")
        stack.publish()

    def in_state(self, stack: RecordedStack) -> None:
        """An output that is not the program's. The next `up` drops it, and the backups keep it."""
        state = json.loads(stack.query("stack", "export"))
        (top,) = [r for r in state["deployment"]["resources"] if r["type"] == "pulumi:pulumi:Stack"]
        top["outputs"]["planted"] = self.text
        file = stack.state / "planted.json"
        file.write_text(json.dumps(state))
        stack.query("stack", "import", "--file", str(file))
        file.unlink()
        stack.query("stack", "output", "planted")

    def take_away(self, stack: RecordedStack) -> None:
        """The pod and the ConfigMap go; Git's history and the logs keep the text."""
        for path in (f"pods/{self.name}?gracePeriodSeconds=0", f"configmaps/{self.name}"):
            stack.objects.request("DELETE", f"/api/v1/namespaces/default/{path}")
