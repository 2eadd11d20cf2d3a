"""Home: a placeholder."""

import streamlit as st

st.header("Batch Scoring Studio")
