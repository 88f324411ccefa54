"""Start and stop the Git server of a node.

It listens on the host's end of the node's link, so that pods and the host reach it at one address. Its
certificate comes from an authority of its own. It serves reads only; `publish` writes to the repositories.
"""

from __future__ import annotations

import http.client
import shutil
import ssl
from pathlib import Path

from toolchain.node import processes
from toolchain.node.errors import NodeError
from toolchain.node.files import write
from toolchain.node.layout import GIT_HOST, Node
from toolchain.node.progress import Progress, tail

PORT = 8443
PROGRAM = "lighttpd"
USER = "www-data"
BACKEND = Path("/usr/lib/git-core/git-http-backend")


def cgroup(node: Node) -> str:
    return f"{node.cgroup}/gitserver"


def repositories(node: Node) -> Path:
    """The folder of the bare repositories."""
    return node.state / "git"


def access_log(node: Node) -> Path:
    """One line for each request."""
    return node.logs / "git/access.log"


def authority(node: Node) -> Path:
    """The certificate of the authority that a client must trust."""
    return node.pki / "git-ca.crt"


def url(repository: str) -> str:
    """The address for pods; the cluster DNS knows the name."""
    return f"https://{GIT_HOST}:{PORT}/{repository}.git"


def host_url(node: Node, repository: str) -> str:
    """The address for the host; pods may use it too."""
    return f"https://{node.host_address}:{PORT}/{repository}.git"


def pid(node: Node) -> int | None:
    """The server's process, or None when it does not run."""
    return processes.find(cgroup(node), PROGRAM)


def start(node: Node, progress: Progress) -> None:
    """Start the server unless it runs; return when it answers. Raises NodeError with the end of its log."""
    log_path = node.logs / "gitserver.log"
    if pid(node) is None:
        if not BACKEND.exists():
            raise NodeError(f"git server: {BACKEND} is missing; install the Debian package git")
        program = shutil.which(PROGRAM, path="/usr/local/sbin:/usr/sbin:/usr/bin")
        if program is None:
            raise NodeError(f"git server: {PROGRAM} is missing; run `python3 -m toolchain.node packages`")
        repositories(node).mkdir(parents=True, exist_ok=True)
        config = node.config / "lighttpd.conf"
        write(config, configuration(node))
        # The server opens this log after it has given up root.
        access_log(node).parent.mkdir(parents=True, exist_ok=True)
        shutil.chown(access_log(node).parent, USER, USER)
        progress.say("starting the git server")
        with log_path.open("ab") as log:
            processes.spawn([program, "-D", "-f", config], cgroup(node), log)

    def missing() -> str | None:
        if pid(node) is None:
            raise NodeError(f"git server: it ended{tail(log_path)}")
        return None if answers(node) else "it does not answer"

    progress.wait("git server", missing, timeout=20, log=log_path)


def stop(node: Node) -> None:
    """End the server and the requests it is serving."""
    processes.stop(cgroup(node), PROGRAM)
    processes.kill_all(cgroup(node))


def answers(node: Node) -> bool:
    """Whether the server answers with a certificate of its authority."""
    context = ssl.create_default_context(cafile=str(authority(node)))
    connection = http.client.HTTPSConnection(node.host_address, PORT, timeout=2, context=context)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
        return True
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def configuration(node: Node) -> str:
    """lighttpd configuration. git's own program finds the repository from the path after its name."""
    return f"""server.modules = ("mod_openssl", "mod_alias", "mod_setenv", "mod_cgi", "mod_accesslog")
server.bind = "{node.host_address}"
server.port = {PORT}
server.username = "{USER}"
server.groupname = "{USER}"
server.document-root = "{repositories(node)}"
server.upload-dirs = ("/tmp")
accesslog.filename = "{access_log(node)}"

ssl.engine = "enable"
ssl.pemfile = "{node.pki}/git-server.crt"
ssl.privkey = "{node.pki}/git-server.key"

alias.url = ("/" => "{BACKEND}/")
cgi.assign = ("" => "")
setenv.set-environment = (
  "GIT_PROJECT_ROOT" => "{repositories(node)}",
  "GIT_HTTP_EXPORT_ALL" => "1",
  "GIT_CONFIG_NOSYSTEM" => "1",
  "GIT_CONFIG_COUNT" => "1",
  "GIT_CONFIG_KEY_0" => "safe.directory",
  "GIT_CONFIG_VALUE_0" => "*"
)
"""
