"""The releases that engines are made for."""

from build_engines.nvidia_releases import CONTAINERS, container_with


def test_the_newest_container_is_first_and_a_version_finds_its_own() -> None:
    assert list(CONTAINERS) == sorted(CONTAINERS, reverse=True)
    for release, container in CONTAINERS.items():
        assert container.tag == f"{release}-py3"
        assert container_with(container.tensorrt) is container
    assert container_with("11.2.1") is None
