"""How a zygote starts: the guest package lies in its sandbox as one zip."""

PLACE = "/guest.zip"
"""Where the sandbox sees it."""
BOOT = (
    f"import sys; sys.path.insert(0, {PLACE!r}); from guest.zygote import main; del sys.path[0]; "
    "main(int(sys.argv[1]))"
)
