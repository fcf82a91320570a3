"""A throw-away Kubernetes on one machine, without Docker and without a registry: for tests, and for trying.

`python -m infra.cluster up` starts etcd, API server, controllers, scheduler, containerd, kubelet and
kube-proxy, on an own bridge; `up --api` the control plane alone, on the loopback address and for any user:
objects, watches, RBAC, admission and Helm work there, pods stay pending. `down` takes all of it away again.

    build          compiles what all this runs from, once
    home           where it keeps what
    keys           who may ask the API what
    programs       processes that outlive us, and how they are found again
    control_plane  etcd to scheduler
    node           containerd, kubelet, kube-proxy
    machine        bridge, cgroups and mounts, and their removal
    leftovers      what of it all is there
    images         archives of images, packed from files
    lifecycle      the order in which it all comes and goes
    keeper         a cluster for one command, gone with it however it ends
    descendants    what that command left running

For tests only: etcd does not sync to disk, and asks nobody on this machine for a password.
"""
