"""Small files of each layout, written by the tests themselves."""

from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

PAN = "4242424242424242"

HANDBOOK = {
    "TRANSACTION_ID": [10, 11, 12, 13],
    "TX_DATETIME": [datetime(2018, 4, 1, 0, 0, s) for s in (31, 10, 31, 10)],
    "CUSTOMER_ID": [596, 4961, 596, 2],
    "TERMINAL_ID": [3156, 3412, 3156, 1365],
    "TX_AMOUNT": [57.16, 81.51, 0.0, 146.0],
    "TX_TIME_SECONDS": [31, 10, 31, 10],
    "TX_TIME_DAYS": [0, 0, 0, 0],
    "TX_FRAUD": [0, 1, 1, 0],
    "TX_FRAUD_SCENARIO": [0, 3, 2, 0],
}
SPARKOV = {
    "tx_id": [0, 1, 2],
    "ts": [datetime(2024, 1, 1, 0, 0, 41), datetime(2024, 1, 1, 0, 2, 2), datetime(2024, 1, 1, 0, 2, 2)],
    "cust_id": [0, 7, 7],
    "merchant": ["Eichmann, Bogan and Rodriguez", "Ledner-Pfannerstill", "Brekke and Sons"],
    "category": ["gas_transport", "grocery_pos", "shopping_net"],
    "amt": pa.array([54.86, 42.09, 120.63], type=pa.float32()),
    "merch_lat": pa.array([33.5, 42.25, 39.75], type=pa.float32()),
    "merch_long": pa.array([-84.25, -92.5, -86.125], type=pa.float32()),
    "is_fraud": [0, 0, 1],
}
SPARKOV_KAGGLE = {
    "trans_date_trans_time": ["2019-01-01 00:00:18", "2019-01-01 00:00:44"],
    "cc_num": [PAN, PAN],
    "merchant": ["fraud_Rippin, Kub and Mann", "fraud_Heller-Langosh"],
    "category": ["misc_net", "grocery_pos"],
    "amt": [4.97, 107.23],
    "first": ["Jennifer", "Jennifer"],
    "merch_lat": [36.011293, 49.159047],
    "merch_long": [-82.048315, -118.186462],
    "trans_num": ["0b242abb623afc578575680df30655b9", "1f76529f8574734946361c461b024d99"],
    "is_fraud": [0, 1],
}
AMLGENTEX = {
    "tx_id": [5813, 5814, 5815],
    "step": [0, 0, 1],
    "type": ["TRANSFER"] * 3,
    "amount": [664.94, 459.39, 717.88],
    "nameOrig": [10440, -2, 11496],
    "nameDest": [1397, 2020, 10440],
    "oldbalanceOrig": [241205.5, 0.0, 137691.5],
    "newbalanceOrig": [240540.56, 0.0, 136973.62],
    "isSAR": [0, 0, 1],
    "patternID": [298, 637, 1330],
}
ULB = {
    "Time": [0.0, 1.0, 172792.0],
    **{f"V{number}": [-1.36, 1.19, 0.5] for number in range(1, 29)},
    "Amount": [149.62, 2.69, 217.0],
    "Class": [0, 1, 0],
}
LAYOUTS = {
    "handbook": HANDBOOK,
    "sparkov": SPARKOV,
    "sparkov_kaggle": SPARKOV_KAGGLE,
    "amlgentex": AMLGENTEX,
    "ulb": ULB,
}


def write(path: Path, columns: dict) -> Path:
    """Write a table to `path`, as CSV or Parquet by its suffix."""
    table = pa.table(columns)
    if path.suffix == ".csv":
        arrow_csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path
