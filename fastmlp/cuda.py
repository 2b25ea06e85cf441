"""What programs ask before they choose a device: there is no GPU here."""


def is_available() -> bool:
    return False


def device_count() -> int:
    return 0
