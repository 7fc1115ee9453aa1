"""Tables of people's own texts, row by row: delimited text, JSON Lines, Excel, Parquet."""
