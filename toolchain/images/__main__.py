"""`python3 -m toolchain.images import|list|unpack|prepare|database|engine|engine-reference|engine-context`."""

from __future__ import annotations

import argparse
import sys

from toolchain.images import engine, postgresql
from toolchain.node import image_cache, layout
from toolchain.node import image_store as store
from toolchain.node import image_table as table
from toolchain.node.errors import NodeError
from toolchain.node.progress import Progress


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python3 -m toolchain.images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command, text in (
        ("import", "make images from the toolchain's binaries and import them into a node"),
        ("list", "the table of images"),
        ("unpack", "import the images of the table once for all nodes of this machine"),
        ("prepare", "make the database's image, and what the engine's needs beside the project's code"),
        ("database", "make the image of the example's database, import it into a node, print its name"),
        ("engine", "build the engine's image, import it into a node, print its name"),
        ("engine-reference", "print the name of the engine's image for the present tree"),
        ("engine-context", "lay out the build context of the engine's image and print its folder"),
    ):
        sub = commands.add_parser(command, help=text)
        if command in ("import", "database", "engine"):
            sub.add_argument("--name", default="dev", help="the node")
        if command == "import":
            sub.add_argument("images", nargs="*", help="names; without any, every image of the table")
    return parser


def main() -> int:
    arguments = parser().parse_args()
    try:
        if arguments.command == "list":
            for image in table.load():
                print(f"{image.binary:<24} {image.reference}")
        elif arguments.command == "engine-reference":
            print(engine.reference())
        elif arguments.command == "engine-context":
            print(engine.make_context(Progress("images")))
        elif arguments.command == "unpack":
            image_cache.prepare(Progress("images"))
        elif arguments.command == "prepare":
            engine.prepare(Progress("images"))
            postgresql.prepare(Progress("images"))
        else:
            node = layout.require(arguments.name)
            progress = Progress(f"images {node.name}")
            if arguments.command == "engine":
                print(engine.ensure(node, progress))
            elif arguments.command == "database":
                print(postgresql.ensure(node, progress))
            else:
                wanted = arguments.images or [image.binary for image in table.load()]
                imported = store.ensure(node, wanted, progress)
                progress.say(f"{len(imported)} imported" if imported else "every image is there")
    except (NodeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
