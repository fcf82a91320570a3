"""`python config_manager.py summary|validate|security|template|export`: the same as `millrace config ...`."""

from infra.config_command import config_app


def main() -> None:
    """Run the command named on the command line."""
    config_app(prog_name="config_manager.py")


if __name__ == "__main__":
    main()
