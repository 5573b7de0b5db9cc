from __future__ import annotations
import subprocess, os
import pytest

def test_it(make_lab):
    lab = make_lab()
    lab.state.parent.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0755", "tmpfs", lab.state.parent], check=True)
    r = lab.loop("create", "--start")
    assert r.returncode == 0, r.stderr
    for pages in (0,1,2,3,4,5,6,8,10,12):
        lab.edit("configuration.nix", "Hello from the mini guest.", f"Hello from the mini guest. {pages}.") if pages == 0 else lab.edit("configuration.nix", f"guest. {prev}.", f"guest. {pages}.")
        prev = pages
        before = lab.boot_id()
        fill = lab.state.parent / "fill"
        fd = os.open(fill, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        try:
            while True:
                os.write(fd, b"x" * 4096)
        except OSError:
            pass
        os.ftruncate(fd, os.fstat(fd).st_size - pages * 4096)
        os.close(fd)
        r = lab.loop("rebuild")
        print("PAGES", pages, r.returncode, r.stdout[-300:], r.stderr[-700:])
        print("   state", lab.domain_state())
        if lab.domain_state() == "running":
            print("   same boot", lab.boot_id() == before)
        fill.unlink()
        print("   recovers", lab.cycle()["action"], lab.strays())
    subprocess.run(["umount", "-l", lab.state.parent], check=True)
    assert 0
