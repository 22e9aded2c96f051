"""Cities where customers live, shop and travel. The simulated bank is at home in Germany."""

from typing import NamedTuple

import numpy as np

HOME_COUNTRY = "DE"


class City(NamedTuple):
    """`residents` and `visitors` are weights among all cities."""

    name: str
    country: str
    latitude: float
    longitude: float
    residents: float
    visitors: float


CITIES = (
    City("Berlin", "DE", 52.520, 13.405, 22, 8),
    City("Hamburg", "DE", 53.551, 9.994, 14, 5),
    City("Munich", "DE", 48.137, 11.575, 13, 7),
    City("Cologne", "DE", 50.938, 6.960, 10, 4),
    City("Frankfurt", "DE", 50.110, 8.682, 8, 4),
    City("Stuttgart", "DE", 48.775, 9.182, 6, 3),
    City("Leipzig", "DE", 51.340, 12.373, 6, 3),
    City("Dresden", "DE", 51.050, 13.737, 5, 3),
    City("Hanover", "DE", 52.375, 9.732, 5, 2),
    City("Nuremberg", "DE", 49.452, 11.077, 5, 2),
    City("Vienna", "AT", 48.208, 16.373, 2, 5),
    City("Zurich", "CH", 47.377, 8.541, 1, 3),
    City("Paris", "FR", 48.857, 2.352, 1, 6),
    City("Amsterdam", "NL", 52.368, 4.904, 1, 5),
    City("London", "GB", 51.507, -0.128, 0.5, 5),
    City("Warsaw", "PL", 52.230, 21.012, 0.5, 3),
    City("Milan", "IT", 45.464, 9.190, 0, 5),
    City("Barcelona", "ES", 41.385, 2.173, 0, 6),
    City("Palma", "ES", 39.570, 2.650, 0, 7),
    City("Lisbon", "PT", 38.722, -9.139, 0, 3),
    City("Athens", "GR", 37.984, 23.728, 0, 3),
    City("Istanbul", "TR", 41.008, 28.978, 0, 4),
    City("New York", "US", 40.713, -74.006, 0, 3),
    City("Bangkok", "TH", 13.756, 100.502, 0, 2),
    City("Dubai", "AE", 25.205, 55.271, 0, 2),
)

COUNTRIES = tuple(sorted({city.country for city in CITIES} | {"IE", "LU", "LT", "CY", "NG", "RO"}))
CITY_COUNTRY = np.array([COUNTRIES.index(city.country) for city in CITIES], dtype=np.int32)
CITY_LATITUDE = np.array([city.latitude for city in CITIES])
CITY_LONGITUDE = np.array([city.longitude for city in CITIES])
HOME_CITIES = np.array([i for i, city in enumerate(CITIES) if city.country == HOME_COUNTRY])
FOREIGN_CITIES = np.array([i for i, city in enumerate(CITIES) if city.country != HOME_COUNTRY])


def country_code(country: str) -> int:
    """The index of an ISO 3166 alpha-2 code in `COUNTRIES`."""
    return COUNTRIES.index(country)


def weights(attribute: str) -> np.ndarray:
    """`float64 [cities]`: the share of each city by `residents` or `visitors`; sums to 1."""
    values = np.array([getattr(city, attribute) for city in CITIES], dtype=np.float64)
    return values / values.sum()
