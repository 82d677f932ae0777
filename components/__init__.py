"""Lapidar's parts: stages, methods, evidence. Imports neither flows nor dashboards, neither prefect nor streamlit."""
