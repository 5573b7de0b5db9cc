# The Python packages that nixvm-loop needs, by their names in nixpkgs. A test holds them against pyproject.toml.
python: {
  dependencies = with python; [
    asyncssh
    libvirt
    lxml
    pathspec
    platformdirs
    pydantic
    rich
    shtab
    watchfiles
  ];

  tests = with python; [
    anyio
    hypothesis
    inline-snapshot
    pytest
    pytest-timeout
    pytest-xdist
  ];

  linters = with python; [
    mypy
    types-lxml
  ];
}
